"""How a log record becomes lines, whichever logger wrote it."""

import logging
import re
from traceback import TracebackException
from types import TracebackType


class LineFormatter(logging.Formatter):
    """Escapes unprintable characters, so that logged text can neither begin a line of its own nor control a terminal.

    A message is one line. A traceback has many lines, among them exactly one for the text of each exception.
    """

    def format(self, record: logging.LogRecord) -> str:
        # The traceback as another handler's formatter has cached it is not escaped.
        record.exc_text = None
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escaped(super().formatMessage(record))

    def formatException(
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        if ei[0] is None:
            return ""
        parts = TracebackException(*ei, compact=True).format()
        return "\n".join(line for part in parts for line in _lines_of(part))

    def formatStack(self, stack_info: str) -> str:
        return "\n".join(map(escaped, stack_info.split("\n")))


def escaped(text: str) -> str:
    """Returns `text` with every unprintable character written as in a Python string: control characters, line ends of every
    kind, marks that change the direction of text, surrogates."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _lines_of(part: str) -> list[str]:
    """Returns the lines of one part of a traceback. A frame has a line for its place and an indented one for its source.
    Everything else is one line, apart from the empty lines around it."""
    text = part.removesuffix("\n")
    if text.lstrip(" |").startswith('File "'):
        return [escaped(line) for line in re.split(r"\n(?= )", text)]
    before = len(text) - len(text.lstrip("\n"))
    after = len(text) - len(text.rstrip("\n")) if before else 0
    return [""] * before + [escaped(text.strip("\n"))] + [""] * after
