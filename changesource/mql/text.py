"""A mapping as people write it and as it is stored: MongoDB's Extended JSON, in the order in which it was written.

Order counts: in a pipeline, and where a filter asks for equality with a whole document.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NoReturn

from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import JSONMode, JSONOptions

from changesource.mql.errors import MappingError
from changesource.mql.nesting import TOO_DEEP, check_nesting

_JSON_OPTIONS = JSONOptions(
    json_mode=JSONMode.RELAXED, datetime_conversion=DatetimeConversion.DATETIME_MS, document_class=dict
)

_WRAPPERS = frozenset(
    {
        "$oid",
        "$date",
        "$numberInt",
        "$numberLong",
        "$numberDouble",
        "$numberDecimal",
        "$binary",
        "$uuid",
        "$timestamp",
        "$regularExpression",
        "$minKey",
        "$maxKey",
    }
)
"""Objects with one of these as their only key are values (MongoDB: Extended JSON v2). `{"$regex": …}` is left as the
operator that it is in a filter."""


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


A_MAPPING = "A mapping is a JSON object with a filter and a projection, or with a pipeline."


def read_mapping_text(text: str, *, what_it_is: str = A_MAPPING) -> dict[str, Any]:
    """The mapping in `text`; without text that of whole documents, `{}`. Raises `MappingError` with line and column, and
    with `what_it_is` for JSON that is no object."""
    if not text.strip():
        return {}
    _decode(text, _plain_object)  # what could not be stored may stand within a value, as in the pattern of a regex
    value = _decode(text, _value_of_pairs)
    if not isinstance(value, dict):
        raise MappingError(what_it_is)
    return value


def normal_mapping_text(text: str) -> str:
    """The same mapping in the one form in which versions store it. Raises `MappingError` for text that is no JSON."""
    if not text.strip():
        return ""
    value = _decode(text, _plain_object)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value != {} else ""


def _decode(text: str, hook: Any) -> Any:
    try:
        value = json.loads(text, object_pairs_hook=hook, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise MappingError(f"This is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from error
    except ArithmeticError as error:
        raise MappingError("This is not Extended JSON: a number in it is none, or out of range.") from error
    except (ValueError, TypeError, KeyError, AttributeError, BSONError) as error:
        raise MappingError(f"This is not Extended JSON: {error}.") from error
    except RecursionError as error:  # how deep Python's own parser goes depends on its version
        raise MappingError(TOO_DEEP) from error
    check_nesting(value)
    if any("\0" in part or _LONE_SURROGATE.search(part) for part in _strings_in(value)):
        raise MappingError("U+0000 and lone surrogates cannot be stored. Take them out.")
    return value


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


def _value_of_pairs(pairs: list[tuple[str, Any]]) -> Any:
    value = _plain_object(pairs)
    if len(value) == 1 and next(iter(value)) in _WRAPPERS:
        return json_util.object_hook(value, _JSON_OPTIONS)
    return value


def _plain_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        [(repeated, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise MappingError(f"An object has {repeated!r} twice. Keep one.")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is beyond what a double can hold")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
