"""zerosources/log_lines.py: nobody writes a line of their own into the log."""

from __future__ import annotations

import io
import logging
import logging.config
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from twisted.logger import Logger, STDLibLogObserver

from zerosources.log_lines import LineFormatter, escaped

FORGED = "2026-01-01 00:00:00,000 INFO changesource all is well"
HOSTILE = f"a\n{FORGED}\r\x1b[2J\x00\x7f\x85\u2028\u2029\u202e\u2066\ud800\ufeffé"
ESCAPED = f"a\\n{FORGED}\\r\\x1b[2J\\x00\\x7f\\x85\\u2028\\u2029\\u202e\\u2066\\ud800\\ufeffé"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """The lines that the project's own configuration writes."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    config = settings.LOGGING["formatters"]["line"]
    assert config["()"] == f"{LineFormatter.__module__}.{LineFormatter.__name__}"
    handler.setFormatter(LineFormatter(config["format"], style="{"))
    root = logging.getLogger()
    root.addHandler(handler)
    yield lambda: stream.getvalue().encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass").split("\n")[:-1]
    root.removeHandler(handler)


@pytest.mark.parametrize("name", ["changesource.x", "django.request", "daphne.server", "channels", "anything"])
@pytest.mark.parametrize(
    ("message", "arguments"), [(HOSTILE, ()), ("%s", (HOSTILE,)), ("%(a)s", ({"a": HOSTILE},))], ids=str
)
def test_a_message_is_one_line(log: Callable[[], list[str]], name: str, message: str, arguments: tuple[Any]) -> None:
    """Of whichever logger, in the message or in what is put into it."""
    logging.getLogger(name).error(message, *arguments)
    (line,) = log()
    assert line.endswith(f"ERROR {name} {ESCAPED}")


def test_a_message_of_twisted_is_one_line(log: Callable[[], list[str]]) -> None:
    """As Daphne passes them on."""
    Logger("x", observer=STDLibLogObserver("daphne.server")).error("{who}", who=HOSTILE)
    (line,) = log()
    assert line.endswith(ESCAPED)


def test_the_name_of_a_logger_is_escaped(log: Callable[[], list[str]]) -> None:
    """It is part of the line."""
    logging.getLogger(f"x\n{FORGED}").error("a")
    assert len(log()) == 1


def is_forged(lines: list[str]) -> bool:
    """Whether a line begins as one of another record."""
    return any(line.startswith("2026-01-01") for line in lines)


class Hostile(Exception):
    """Its text is what somebody has sent."""


def fail_with_a_cause() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        note = Hostile(HOSTILE)
        note.add_note(f"a note\n{FORGED}")
        raise note from error


def logged(error: BaseException) -> None:
    logging.getLogger("changesource.x").error("failed", exc_info=error)


def test_a_traceback_has_lines_and_an_exceptions_text_has_none(log: Callable[[], list[str]]) -> None:
    """Also that of its cause."""
    try:
        fail_with_a_cause()
    except Hostile as error:
        logged(error)
    lines = log()
    assert lines.count("Traceback (most recent call last):") == 2
    assert f"ValueError: {ESCAPED}" in lines
    assert f"tests.test_log_lines.Hostile: {ESCAPED}" in lines
    assert "The above exception was the direct cause of the following exception:" in lines
    assert any(line.startswith('  File "') and line.endswith("in fail_with_a_cause") for line in lines)
    assert "    raise note from error" in lines


def test_an_exception_group(log: Callable[[], list[str]]) -> None:
    """Each of its exceptions is one line."""
    logged(ExceptionGroup(HOSTILE, [ValueError(HOSTILE), Hostile("x")]))
    assert sum(FORGED in line for line in log()) == 2
    assert not is_forged(log())


def test_an_exception_whose_text_looks_like_a_frame(log: Callable[[], list[str]]) -> None:
    """The beginning of its line is its type."""
    logged(Hostile(f'  File "x", line 1\n{FORGED}'))
    assert not is_forged(log())


def test_a_syntax_error(log: Callable[[], list[str]]) -> None:
    """Its text is in it, as source."""
    try:
        compile(f"'''a\n{FORGED}\n", f"x\n{FORGED}", "exec")
    except SyntaxError as error:
        logged(error)
    assert not is_forged(log())


def test_a_traceback_that_another_formatter_made_is_not_taken_over() -> None:
    """A record keeps the text of a traceback."""
    record = logging.LogRecord("x", logging.ERROR, "", 0, "failed", (), (ValueError, ValueError(HOSTILE), None))
    logging.Formatter().format(record)
    assert not is_forged(LineFormatter().format(record).split("\n"))
    assert ESCAPED in LineFormatter().format(record)


def test_a_stack(log: Callable[[], list[str]]) -> None:
    """Keeps its lines."""
    logging.getLogger("changesource.x").error("here", stack_info=True)
    assert any(line.endswith("in test_a_stack") for line in log())


def test_what_can_be_read_stays() -> None:
    """In every script."""
    assert escaped("Zürich — 東京 😀 \\n") == "Zürich — 東京 😀 \\n"


def test_no_logger_has_a_handler_that_writes_in_another_way() -> None:
    """Django's own would, in development."""
    assert set(settings.LOGGING["handlers"]) == {"stderr"}
    for name in ("django", "django.server"):
        assert settings.LOGGING["loggers"][name]["handlers"] == []
        assert logging.getLogger(name).handlers == []
        assert logging.getLogger(name).propagate
