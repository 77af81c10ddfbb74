"""Regular expressions that Zero's LIKE says exactly."""

from __future__ import annotations

import re
from typing import Final

from bson import Regex

MAX_PATTERN_LENGTH: Final = 1_000
"""SQLite refuses LIKE patterns beyond 50,000 bytes; nobody searches for so much."""

_LITERAL: Final = re.compile(r"(?:[^\\^$.|?*+()\[\]{}]|\\[^A-Za-z0-9])*", re.DOTALL)
"""Characters that stand for themselves, also those that do so behind a backslash."""


def like_pattern(regex: Regex[str]) -> str | None:
    """The LIKE pattern that matches the same strings; None when there is none.

    `$` at the end matches before a last line break too, and letters without case are other ones in PCRE2, JavaScript and
    SQLite: neither has a LIKE.
    """
    is_anchored = regex.pattern.startswith("^")
    literal = regex.pattern.removeprefix("^")
    if regex.flags & ~re.U or len(literal) > MAX_PATTERN_LENGTH or not _LITERAL.fullmatch(literal):
        return None
    text = re.sub(r"\\(.)", r"\1", literal, flags=re.DOTALL)
    escaped = re.sub(r"([\\%_])", r"\\\1", text)
    return f"{'' if is_anchored else '%'}{escaped}%"
