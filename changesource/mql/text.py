"""Pipelines and filters as people write them and as versions store them: MongoDB's Extended JSON.

The order of names is kept. It matters in a pipeline, and where a filter asks for equality with a whole document.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import JSONMode, JSONOptions

from changesource.mql.errors import MqlError
from changesource.mql.strict_json import StrictJSONDecoder, Unstorable

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
"""An object with one of these as its only key is a value (MongoDB: Extended JSON v2). `{"$regex": …}` stays an operator, as
in a filter."""

A_MAPPING = "A mapping is a JSON object with a filter and a projection, or with a pipeline."


def read_mapping_text(text: str, *, what_it_is: str = A_MAPPING) -> dict[str, Any]:
    """The object in `text`, with BSON values; `{}` if there is no text.

    Raises `MqlError`: with line and column for text that is not JSON, and with `what_it_is` for JSON that is not an object.
    """
    if not text.strip():
        return {}
    _decode(text, _plain_object)  # what cannot be stored may stand inside a value, as in the pattern of a regex
    value = _decode(text, _value_of_pairs)
    if not isinstance(value, dict):
        raise MqlError(what_it_is)
    return value


def normal_mapping_text(text: str) -> str:
    """The same JSON in the one form in which versions store it. Raises `MqlError` for text that is not JSON."""
    if not text.strip():
        return ""
    value = _decode(text, _plain_object)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value != {} else ""


def _decode(text: str, hook: Any) -> Any:
    try:
        return json.loads(text, cls=StrictJSONDecoder, object_pairs_hook=hook)
    except Unstorable as error:
        raise MqlError(f"{error.msg}.") from error
    except json.JSONDecodeError as error:
        raise MqlError(f"This is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from error


def _value_of_pairs(pairs: list[tuple[str, Any]]) -> Any:
    value = _plain_object(pairs)
    if len(value) != 1 or next(iter(value)) not in _WRAPPERS:
        return value
    try:
        return json_util.object_hook(value, _JSON_OPTIONS)
    except ArithmeticError as error:
        raise MqlError("This is not Extended JSON: a number in it is not one, or is out of range.") from error
    except (ValueError, TypeError, KeyError, AttributeError, BSONError) as error:
        raise MqlError(f"This is not Extended JSON: {error}.") from error


def _plain_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        [(repeated, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise MqlError(f"An object has {repeated!r} twice. Keep one.")
    return value
