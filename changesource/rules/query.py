"""Rules as MongoDB queries: as they are written, and for `find` on the collection of a table."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final

from bson import Binary, DatetimeMS, ObjectId, Regex

from changesource.mql.errors import MappingError
from changesource.mql.filters.tree import (
    And,
    Compare,
    ElemMatchValue,
    Exists,
    Filter,
    In,
    MatchesPattern,
    Nor,
    Not,
    Or,
    Related,
    VariableCondition,
)
from changesource.mql.text import read_mapping_text
from changesource.tables.definition import Table
from changesource.tables.values import MAX_SAFE_INTEGER

NO_DOCUMENT: Final[Mapping[str, Any]] = {"_id": {"$in": []}}

_NO_ARRAY: Final = {"$not": {"$type": "array"}}
"""A query looks into arrays; in a column, an array is JSON text and equals nothing."""

_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def find_query(table: Table, filter: Filter) -> dict[str, Any]:
    """What finds the documents whose row `filter`, a rule with the claims put in (`matching.bound`), matches.

    Exact for values that are in their column what they are in the document: strings, numbers, booleans, null and nothing; and
    for ObjectIds, UUIDs and dates, but for the order of the first two. Raises `MappingError` when the mapping computes a
    column that is asked for, when it is a pipeline, and for related rows, which `find` does not look at.
    """
    specification = read_mapping_text(table.mapping)
    if "pipeline" in specification:
        raise MappingError(f"The table {table.name!r} is a pipeline, whose rows find does not know.", ("mapping",))
    fields = _Fields(table, specification.get("projection") or {})
    query = _query(fields, filter)
    kept = specification.get("filter") or {}
    return {"$and": [kept, query]} if kept else query


class _Fields:
    """The fields of the documents that the columns of a table show."""

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
        raise MappingError(
            f"The column {column!r} of the table {self._table.name!r} is computed, so that find cannot ask for it.",
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
            # Not beside $not, which takes the place of another in some servers.
            field = fields[column]
            return {"$and": [{field: {"$regex": pattern.pattern}}, {field: _NO_ARRAY}]}
        case Related(name):
            raise MappingError("The rule asks for related rows, which find does not look at.", ("$exists", name))
        case _:
            raise TypeError(f"{type(filter).__name__} is not in a rule without problems")


def _forms_of(value: Any) -> list[Any]:
    """The values of documents that are `value` in a column."""
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
    # Dates have whole milliseconds: `$gt 1.5` is `$gt 1` to them, and `$gte 1.5` is `$gte 2`.
    milliseconds = math.floor(value) if operator in ("$gt", "$lte") else math.ceil(value)
    return {"$or": [query, {field: {operator: DatetimeMS(milliseconds), **_NO_ARRAY}}]}


def _has_dates(value: Any) -> bool:
    """Whether a number column may have `value` from a date."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_SAFE_INTEGER


# As it is written


def written_out(filter: Filter) -> str:
    """A rule or a part of one, as JSON on one line."""
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
