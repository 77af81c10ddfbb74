"""JSON that people write, read without what a database would refuse or change."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from changesource.mql.nesting import TOO_DEEP, is_too_deep

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Unstorable(json.JSONDecodeError):
    """JSON that a database would refuse or change. `msg` says why."""


class StrictJSONDecoder(json.JSONDecoder):
    """Reads JSON, but refuses NaN and infinities, integers of thousands of digits, deep nesting, U+0000 and lone surrogates.

    Raises nothing but `json.JSONDecodeError`: `Unstorable` for what it refuses.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "parse_constant": _refuse_constant, "parse_float": _finite})

    def decode(self, s: str, *args: Any) -> Any:
        try:
            value = super().decode(s, *args)
        except json.JSONDecodeError:
            raise
        except RecursionError as error:  # how deep Python's own parser goes depends on its version
            raise Unstorable(TOO_DEEP, s, 0) from error
        except ValueError as error:
            raise Unstorable(str(error), s, 0) from error
        if is_too_deep(value):
            raise Unstorable(TOO_DEEP, s, 0)
        if any("\0" in text or _LONE_SURROGATE.search(text) for text in _strings_in(value)):
            raise Unstorable("U+0000 and lone surrogates cannot be stored; take them out", s, 0)
        return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("A number is beyond what a double can hold")
    return number


def _strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _strings_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings_in(member)
