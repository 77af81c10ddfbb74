"""How a log record becomes lines, whatever was logged and by whichever logger."""

import logging
import re
from traceback import TracebackException
from types import TracebackType


class LineFormatter(logging.Formatter):
    """Escapes what is not printable, so that nobody can write a line of their own, or what a terminal obeys, into the log.

    A message is one line. A traceback has many, of which those with the text of an exception are one each.
    """

    def format(self, record: logging.LogRecord) -> str:
        # What another handler's formatter has made of the traceback is not escaped.
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
    """`text` with everything that is not printable written as in a Python string: control characters, ends of lines of every
    kind, marks that turn the direction of writing, surrogates."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _lines_of(part: str) -> list[str]:
    """The lines of one part of a traceback: of a frame its place and its source, which is indented; all else is one line, but
    for the empty lines around it."""
    text = part.removesuffix("\n")
    if text.lstrip(" |").startswith('File "'):
        return [escaped(line) for line in re.split(r"\n(?= )", text)]
    before = len(text) - len(text.lstrip("\n"))
    after = len(text) - len(text.rstrip("\n")) if before else 0
    return [""] * before + [escaped(text.strip("\n"))] + [""] * after
