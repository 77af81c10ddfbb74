"""How deep mappings may be nested."""

from __future__ import annotations

from collections.abc import Mapping

from changesource.mql.errors import MappingError

MAX_DEPTH = 100
"""Objects and arrays inside each other: MongoDB's own limit for documents (manual/reference/limits), and far below what
Python's stack takes."""

TOO_DEEP = f"It is nested more than {MAX_DEPTH} deep, which MongoDB does not store."


def check_nesting(mapping: object) -> None:
    """Raises `MappingError` for what is nested deeper than `MAX_DEPTH`."""
    level = [mapping]
    for _ in range(MAX_DEPTH + 1):
        level = [member for value in level for member in _members(value)]
        if not level:
            return
    raise MappingError(TOO_DEEP)


def _members(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []
