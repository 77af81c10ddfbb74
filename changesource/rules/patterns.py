"""Regular expressions that have an exact equivalent in Zero's LIKE."""

from __future__ import annotations

import re
from typing import Final

from bson import Regex

MAX_PATTERN_LENGTH: Final = 1_000
"""SQLite refuses LIKE patterns of more than 50,000 bytes; this is far below, and far more than a search needs."""

_LITERAL: Final = re.compile(r"(?:[^\\^$.|?*+()\[\]{}]|\\[^A-Za-z0-9])*", re.DOTALL)
"""Characters that stand for themselves, including those that do so after a backslash."""


def like_pattern(regex: Regex[str]) -> str | None:
    """The LIKE pattern that matches the same strings; None if there is none.

    There is none for `$` at the end, which also matches before a final line break, and none for the option i, as PCRE2,
    JavaScript and SQLite differ about case.
    """
    is_anchored = regex.pattern.startswith("^")
    literal = regex.pattern.removeprefix("^")
    if regex.flags & ~re.U or len(literal) > MAX_PATTERN_LENGTH or not _LITERAL.fullmatch(literal):
        return None
    text = re.sub(r"\\(.)", r"\1", literal, flags=re.DOTALL)
    escaped = re.sub(r"([\\%_])", r"\\\1", text)
    return f"{'' if is_anchored else '%'}{escaped}%"
