"""JSON as people write it, into what every database keeps."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

MAX_DEPTH = 100
"""Objects and lists inside each other. Python, SQLite and PostgreSQL each give up somewhere above."""


class StorableJSONDecoder(json.JSONDecoder):
    """Reads JSON; refuses, always with `json.JSONDecodeError`, also what a database would refuse or change.

    That is NaN and infinities, integers of thousands of digits, deep nesting, U+0000 and lone surrogates.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "parse_constant": _refuse_constant})

    def decode(self, s: str, *args: Any) -> Any:
        try:
            value = super().decode(s, *args)
            _check(value, depth=0)
        except json.JSONDecodeError:
            raise
        except RecursionError as exc:
            raise json.JSONDecodeError("Too many objects and lists inside each other", s, 0) from exc
        except ValueError as exc:
            raise json.JSONDecodeError(str(exc), s, 0) from exc
        return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        for key, member in value.items():
            _check(key, depth)
            _check(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _check(member, depth + 1)
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("U+0000 and lone surrogates cannot be stored")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("A number is too large")


class IndentedJSONEncoder(json.JSONEncoder):
    """Writes JSON for people."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "indent": 2})
