"""Rules as MongoDB queries: for `find` in the collection of a table, and as they were written."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from bson import Binary, DatetimeMS, ObjectId, Regex

from changesource.mql import (
    And,
    Compare,
    ElemMatchValue,
    Exists,
    Filter,
    In,
    MatchesPattern,
    MqlError,
    Nor,
    Not,
    Or,
    Related,
    VariableCondition,
    read_mapping_text,
)
from changesource.tables.definition import Table
from changesource.tables.values import MAX_SAFE_INTEGER

NO_DOCUMENT: Final[Mapping[str, Any]] = {"_id": {"$in": []}}

_NO_ARRAY: Final = {"$not": {"$type": "array"}}
"""A query looks into arrays. In a column, an array is JSON text and equals nothing."""

_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def find_query(table: Table, filter: Filter) -> dict[str, Any]:
    """A query for the documents whose row matches `filter`, a rule with the claims put in (`matching.bound`).

    The query is exact for values that are the same in the column and in the document: strings, numbers, booleans, null and
    missing ones. It is exact for ObjectIds, UUIDs and dates too, except for the order of ObjectIds and UUIDs.

    Raises `MqlError` if the rule asks about a column that the mapping computes, if the mapping is a pipeline, and for related
    rows, which `find` does not read.
    """
    specification = read_mapping_text(table.mapping)
    if "pipeline" in specification:
        raise MqlError(
            f"The mapping of the table {table.name!r} is a pipeline, whose rows find does not know.", ("mapping",)
        )
    fields = _Fields(table, specification.get("projection") or {})
    query = _query(fields, filter)
    kept = specification.get("filter") or {}
    return {"$and": [kept, query]} if kept else query


class _Fields:
    """Column of a table → the field of the document that it shows."""

    def __init__(self, table: Table, projection: Mapping[str, Any]) -> None:
        self._table = table
        self._fields = {column.name: column.field for column in table.columns}
        self._projection = projection
        self._only_takes_out = all(_is_zero(value) for name, value in projection.items() if name != "_id")

    def __getitem__(self, column: str) -> str:
        field = self._fields[column]
        if not self._projection:
            return field
        value = self._projection.get(field)
        if value is None and (self._only_takes_out or field == "_id"):
            return field
        if isinstance(value, bool | int | float) and value:
            return field
        if isinstance(value, str) and re.fullmatch(r"\$[^$.]+", value):
            return value[1:]
        raise MqlError(
            f"The column {column!r} of the table {self._table.name!r} is computed, so that find cannot query it.",
            ("mapping", "projection", field),
        )


def _is_zero(value: object) -> bool:
    return isinstance(value, bool | int | float) and not value


def _query(fields: _Fields, filter: Filter) -> dict[str, Any]:
    match filter:
        case And(()):
            return {}
        case Or(()):
            return dict(NO_DOCUMENT)
        case And(members):
            return {"$and": [_query(fields, member) for member in members]}
        case Or(members):
            return {"$or": [_query(fields, member) for member in members]}
        case Nor(members):
            return {"$nor": [_query(fields, member) for member in members]}
        case Not(member):
            return {"$nor": [_query(fields, member)]}
        case Compare((column,), "$eq", value):
            return {fields[column]: {"$in": _forms_of(value), **_NO_ARRAY}}
        case Compare((column,), operator, value):
            return _order(fields[column], operator, value)
        case In((column,), tuple() as values, ()):
            return {fields[column]: {"$in": [form for value in values for form in _forms_of(value)], **_NO_ARRAY}}
        case MatchesPattern((column,), pattern):
            # Not beside $not, of which some servers keep only one.
            field = fields[column]
            return {"$and": [{field: {"$regex": pattern.pattern}}, {field: _NO_ARRAY}]}
        case Related(name):
            raise MqlError("The rule asks about related rows, which find does not read.", ("$exists", name))
        case _:
            raise TypeError(f"{type(filter).__name__} is not in a rule without problems")


def _forms_of(value: Any) -> list[Any]:
    """The values in documents that become `value` in a column."""
    if isinstance(value, str):
        if _OBJECT_ID.fullmatch(value):
            return [value, ObjectId(value)]
        if _UUID.fullmatch(value):
            return [value, Binary.from_uuid(uuid.UUID(value))]
    elif _has_dates(value) and value == int(value):
        return [value, DatetimeMS(int(value))]
    return [value]


def _order(field: str, operator: str, value: Any) -> dict[str, Any]:
    query = {field: {operator: value, **_NO_ARRAY}}
    if not _has_dates(value):
        return query
    # Dates have whole milliseconds: for them, `$gt 1.5` is `$gt 1`, and `$gte 1.5` is `$gte 2`.
    milliseconds = math.floor(value) if operator in ("$gt", "$lte") else math.ceil(value)
    return {"$or": [query, {field: {operator: DatetimeMS(milliseconds), **_NO_ARRAY}}]}


def _has_dates(value: Any) -> bool:
    """Whether `value` in a number column can come from a date."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_SAFE_INTEGER


# As they were written


def written_out(filter: Filter) -> str:
    """A rule or a part of one as JSON on one line."""
    return json.dumps(_written(filter), ensure_ascii=False, default=str)


def _written(filter: Filter) -> dict[str, Any]:
    match filter:
        case And(members):
            return {"$and": [_written(member) for member in members]} if members else {}
        case Or(members):
            return {"$or": [_written(member) for member in members]}
        case Nor(members):
            return {"$nor": [_written(member) for member in members]}
        case Related(name, condition):
            where = _written(condition)
            return {"$exists": {"relationship": name, **({"where": where} if where else {})}}
        case VariableCondition(variable, condition):
            return {str(variable): _condition(condition)}
        case Not(Compare(path) | In(path) | MatchesPattern(path)) | Compare(path) | In(path) | MatchesPattern(path):
            return {".".join(path): _condition(filter)}
        case Not(member):
            return {"$nor": [_written(member)]}
        case _:
            raise TypeError(f"{type(filter).__name__} is not in a rule without problems")


def _condition(filter: Filter) -> Any:
    match filter:
        case Compare(_, "$eq", value):
            return value
        case Compare(_, operator, value):
            return {operator: value}
        case Not(Compare(_, "$eq", value)):
            return {"$ne": value}
        case In(_, values):
            return {"$in": values}
        case Not(In(_, values)):
            return {"$nin": values}
        case MatchesPattern(_, Regex() as pattern):
            return {"$regex": pattern.pattern}
        case Exists():
            return {"$exists": True}
        case Not(Exists()):
            return {"$exists": False}
        case ElemMatchValue(_, member):
            inner = _condition(member)
            return {"$elemMatch": inner if isinstance(inner, dict) else {"$eq": inner}}
        case And(members):
            return {name: value for member in members for name, value in _operators(_condition(member)).items()}
        case Not(member):
            return {"$not": _operators(_condition(member))}
        case _:
            raise TypeError(f"{type(filter).__name__} is not in a rule without problems")


def _operators(condition: Any) -> dict[str, Any]:
    return condition if isinstance(condition, dict) else {"$eq": condition}
