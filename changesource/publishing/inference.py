"""Proposes a table for a collection, from its validator and some of its documents. Pure."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from math import isfinite
from typing import Any

from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp

from changesource.mql import Undecodable
from changesource.publishing.definition_problems import find_table_problems
from changesource.tables.definition import (
    IDENTIFIER_PATTERN,
    MAX_COLUMNS,
    MAX_IDENTIFIER_LENGTH,
    RESERVED_TABLE_PREFIXES,
    Column,
    ColumnType,
    Table,
    shown_name,
)
from changesource.tables.values import MAX_SAFE_INTEGER

KEY = "_id"

MANY_RARE_FIELDS = 100
"""With more rare fields than this, field names are taken to be data, such as dates or ids, not a
structure."""

RARE_SHARE = 0.05
"""A field is rare if only one document, or at most this share of the documents, has a value for
it."""

WHOLE_DOCUMENT = "document"
"""The column that holds the whole document if its field names are data."""

TYPES_OF_BSON_NAMES: Mapping[str, ColumnType] = {
    "double": "number",
    "number": "number",
    "int": "number",
    "long": "number",
    "date": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "object": "json",
    "array": "json",
    "string": "string",
    "symbol": "string",
    "objectId": "string",
    "binData": "string",
    "regex": "string",
    "javascript": "string",
    "decimal": "string",
    "timestamp": "string",
    "minKey": "string",
    "maxKey": "string",
}
"""Column types for the names in `bsonType` and `type` of `$jsonSchema`. `null` only makes a column
optional."""

TYPES_OF_CLASSES: Sequence[tuple[tuple[type, ...], ColumnType]] = (
    ((bool,), "boolean"),  # before its base, int
    ((int, float, datetime, DatetimeMS), "number"),
    ((Mapping, list, tuple, DBRef), "json"),
    (
        (str, bytes, ObjectId, uuid.UUID, Binary, Regex, re.Pattern, Decimal128, Timestamp, Code, MinKey, MaxKey),
        "string",
    ),
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A `table` in the JSON form of a Zero schema, and `warnings` about what may be wrong with
    it."""

    table: dict[str, Any]
    warnings: list[str]


def propose_table(
    collection: str,
    validator: Mapping[str, Any],
    documents: Sequence[Mapping[str, Any]],
    indexes: Iterable[Mapping[str, Any]] = (),
) -> Proposal:
    """The table that fits the `$jsonSchema` in the `validator` of `collection`, and its
    `documents`; either may be empty. Its secondary indexes follow the `indexes` that the collection
    has in MongoDB, as far as columns exist for them.

    The table has the collection's name, or a similar one if Zero does not accept that; its mapping
    then names the collection. A column is optional if a document has no value for it, even if the
    validator requires one: documents that are older than a validator need not obey it.

    If field names are data, as in `{"2026-11-30": 4, "2026-12-01": 7}`, those fields get no
    columns. One `json` column shows the whole document instead.
    """
    warnings = [] if documents else ["There are no documents to sample: the proposal rests on the validator alone."]
    columns: list[Column] = []
    names: dict[str, Column] = {}
    fields = _look_at(_object(_object(validator).get("$jsonSchema")), documents)
    kept = _without_data(fields, len(documents))
    shows_document = len(kept) < len(fields)
    if shows_document:
        whole = _free_name(WHOLE_DOCUMENT, kept)
        columns.append(Column(name=whole, type="json"))
        warnings.append(
            f"{whole}: json, which holds the whole document. {len(fields) - len(kept):,} of its {len(fields):,} fields get "
            "no columns, because so many different names look like data, such as dates or ids. Map those that queries need, "
            "or move them into an object or an array of their own in MongoDB."
        )
    for known in kept:
        column = _column(known, has_documents=bool(documents))
        if reason := _why_not(column, names):
            warnings.append(f"{shown_name(known.name)}: left out. {reason}")
            continue
        columns.append(column)
        names.setdefault(column.name.lower(), column)
        warnings += _doubts(known, column)
    name = _table_name(collection)
    if name != collection:
        warnings.append(f"The table is called {name!r}, because Zero does not accept the collection's name.")
    columns.sort(key=lambda column: column.name != KEY)
    table = Table(
        name=name,
        columns=tuple(columns),
        primary_key=(KEY,),
        collection=collection,
        indexes=tuple(_indexes(columns, indexes)),
    )
    warnings += [f"{problem} As it is, this table cannot be loaded." for problem in find_table_problems(table)]
    pipeline = [{"$addFields": {whole: "$$ROOT"}}] if shows_document else []
    return Proposal(_schema_json(table, pipeline), warnings)


@dataclass(slots=True)
class _Field:
    """What is known about one top-level field.

    `is_declared`: the validator names it. `values` is the number of documents with a value for it
    that is not null.
    """

    name: str
    types: set[ColumnType] = field(default_factory=set)
    is_required: bool = False
    may_be_null: bool = False
    has_long_integers: bool = False
    is_declared: bool = False
    values: int = 0

    @property
    def is_structure(self) -> bool:
        """Whether the name is part of the collection's structure, however few documents have it."""
        return self.is_declared or self.name == KEY

    def add(self, value: Any) -> None:
        """Takes note of a value that the field has, or may have."""
        if _becomes_null(value):
            self.may_be_null = True
            return
        self.types.add(next(column_type for classes, column_type in TYPES_OF_CLASSES if isinstance(value, classes)))
        self.has_long_integers |= isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER


def _look_at(schema: Mapping[str, Any], documents: Iterable[Mapping[str, Any]]) -> Collection[_Field]:
    """The fields of `schema` and `documents` in the order of their appearance, `_id` first."""
    fields = {KEY: _Field(KEY)}
    for name, rules in _object(schema.get("properties")).items():
        known = fields.setdefault(name, _Field(name))
        known.is_declared = True
        for bson_name in _names(rules, "bsonType") + _names(rules, "type"):
            if bson_name == "null":
                known.may_be_null = True
            elif bson_name in TYPES_OF_BSON_NAMES:
                known.types.add(TYPES_OF_BSON_NAMES[bson_name])
        for value in _object(rules).get("enum", ()):
            known.add(value)
    for name in _names(schema, "required"):
        known = fields.setdefault(name, _Field(name))
        known.is_declared = known.is_required = True
    count = 0
    for document in documents:
        count += 1
        for name, value in document.items():
            known = fields.setdefault(name, _Field(name))
            known.add(value)
            known.values += not _becomes_null(value)
    for known in fields.values():
        known.may_be_null |= known.values < count
    return fields.values()


def _without_data(fields: Collection[_Field], document_count: int) -> Collection[_Field]:
    """The `fields` whose names are a structure: all, unless too many are rare or a table has no
    room for them."""
    if document_count > 1:
        frequent = [
            known for known in fields if known.is_structure or known.values > max(1, RARE_SHARE * document_count)
        ]
        if len(fields) - len(frequent) > MANY_RARE_FIELDS:
            fields = frequent
    if len(fields) > MAX_COLUMNS:
        fields = [known for known in fields if known.is_structure]
    return fields


def _free_name(name: str, fields: Iterable[_Field]) -> str:
    """`name`, followed by as many underscores as it takes to differ from all `fields`, ignoring
    case."""
    taken = {known.name.lower() for known in fields}
    while name in taken:
        name += "_"
    return name


def _becomes_null(value: Any) -> bool:
    """Whether `value` becomes null in every optional column; see `tables.values`."""
    if isinstance(value, Decimal128):
        return not value.to_decimal().is_finite()
    return value is None or isinstance(value, Undecodable) or (isinstance(value, float) and not isfinite(value))


def _column(known: _Field, *, has_documents: bool) -> Column:
    is_optional = known.may_be_null or not (known.is_required or has_documents)
    return Column(name=known.name, type=_type(known), optional=is_optional and known.name != KEY)


def _table_name(collection: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", collection)
    if not IDENTIFIER_PATTERN.fullmatch(name) or name.lower().startswith(RESERVED_TABLE_PREFIXES):
        name = f"table_{name}"
    return name[:MAX_IDENTIFIER_LENGTH]


def _type(known: _Field) -> ColumnType:
    if known.name == KEY and (not known.types or "json" in known.types):
        return "string"  # a key cannot be json; a string column holds the JSON text of an object
    if not known.types:
        return "json"
    if len(known.types) > 1:
        return "json" if "json" in known.types else "string"
    if known.has_long_integers:
        return "string"
    return next(iter(known.types))


def _indexes(columns: Iterable[Column], indexes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The fields of each index up to the first that is not a column which queries can look up. An
    index that is the beginning of another one, or begins with the primary key, is of no use."""
    usable = {column.name for column in columns if column.type != "json"}
    found = {
        tuple(takewhile(usable.__contains__, index["key"]))
        for index in indexes
        if not index.get("hidden") and "partialFilterExpression" not in index
    }
    for names in sorted(found):
        is_beginning = any(other[: len(names)] == names for other in found - {names})
        if names and names[0] != KEY and not is_beginning:
            yield names


def _why_not(column: Column, names: Mapping[str, Column]) -> str:
    """Why a table cannot have `column`; empty if it can. `names`: lower-case name → column that the
    table has."""
    if column.name == KEY:
        return ""
    # It comes first: if two columns clash, the problem then names this one.
    namesake = names.get(column.name.lower())
    table = Table(name="table", columns=(column, namesake) if namesake else (column,), primary_key=(KEY,))
    return " ".join(problem.message for problem in find_table_problems(table) if problem.column == column.name)


def _doubts(known: _Field, column: Column) -> Iterable[str]:
    """What a person should check before using `column` for `known`."""
    name = shown_name(known.name)
    if known.name == KEY and "json" in known.types:
        yield f"{name}: string, which holds the JSON text of an object, because a key cannot be json."
    elif not known.types and known.name != KEY:
        yield f"{name}: json, because no value was seen and no type is declared."
    elif len(known.types) > 1:
        yield f"{name}: {column.type}, because its values have several types ({', '.join(sorted(known.types))})."
    elif known.has_long_integers and column.type == "string":
        yield f"{name}: string, because JavaScript cannot hold all its integers (beyond 2^53)."
    if column.optional and known.is_required:
        yield f"{name}: optional, because documents without a value exist, although the validator requires one."


def _schema_json(table: Table, pipeline: Sequence[dict[str, Any]]) -> dict[str, Any]:
    # A serverName may hold a mapping.
    mapping = {"source": table.collection} | ({"pipeline": pipeline} if pipeline else {})
    mapped = {} if mapping == {"source": table.name} else {"serverName": json.dumps(mapping)}
    return {
        "name": table.name,
        **mapped,
        "columns": {column.name: {"type": column.type, "optional": column.optional} for column in table.columns},
        "primaryKey": list(table.primary_key),
        **({"indexes": [list(index) for index in table.indexes]} if table.indexes else {}),
    }


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _names(rules: Any, keyword: str) -> list[str]:
    """The names under `keyword`, which accepts a name or a list of names."""
    value = _object(rules).get(keyword, [])
    return [name for name in ([value] if isinstance(value, str) else value) if isinstance(name, str)]
