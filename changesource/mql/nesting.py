"""How deep filters, expressions and pipelines may be nested."""

from __future__ import annotations

from collections.abc import Mapping

from changesource.mql.errors import MqlError

MAX_DEPTH = 100
"""Objects and arrays inside each other: MongoDB's own limit for documents (manual/reference/limits), and far less than
Python's stack allows."""

TOO_DEEP = f"It is nested more than {MAX_DEPTH} deep, which MongoDB does not store"


def check_nesting(specification: object) -> None:
    """Raises `MqlError` for what is nested deeper than `MAX_DEPTH`."""
    if is_too_deep(specification):
        raise MqlError(f"{TOO_DEEP}.")


def is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [member for outer in level for member in _members(outer)]
        if not level:
            return False
    return True


def _members(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
