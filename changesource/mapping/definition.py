"""What an app publishes: tables, their columns and keys, as plain data.

A published version is stored as the JSON of an `AppDefinition` and never changes. Zero knows two names for a
table and a column: the one that queries are written with (`name`) and the one in the replica of zero-cache
(`server_name`; Zero: schema JSON `serverName`, the same as `name` unless given).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

ColumnType = Literal["string", "number", "boolean", "json"]
COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)

APP_ID_PATTERN = re.compile(r"[a-z0-9_]+")
"""Zero: an app id is lower case letters, digits and underscores (zero-config.ts, `app.id`)."""

IDENTIFIER_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""Zero: names of tables and columns (change-source/pg/schema/validation.ts)."""

MAX_IDENTIFIER_LENGTH = 63
"""PostgreSQL's, which Zero's own change source has for names of tables and columns."""

RESERVED_COLUMNS = frozenset({"_0_version", "__proto__"})
"""What zero-cache adds to every table of its replica, and what no object in JavaScript can have as an ordinary key."""

RESERVED_TABLE_PREFIXES = ("_zero", "sqlite_", "__proto__")
"""Tables that zero-cache and SQLite keep for themselves in the replica, and what JavaScript does."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. `field` is the top-level field of the document that it shows."""

    name: str
    type: ColumnType
    optional: bool = False
    server_name: str = ""
    field: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "server_name", self.server_name or self.name)
        object.__setattr__(self, "field", self.field or self.server_name)


@dataclass(frozen=True, slots=True)
class Table:
    """One Zero table. `primary_key` holds names of columns; `collection` is where its documents are."""

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    server_name: str = ""
    collection: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "server_name", self.server_name or self.name)
        object.__setattr__(self, "collection", self.collection or self.server_name)


@dataclass(frozen=True, slots=True)
class AppDefinition:
    """Everything that one published version of an app says. `source` is a key of the setting that holds URIs."""

    app_id: str
    source: str
    tables: tuple[Table, ...]
    relationships: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The form that is stored: plain dicts and lists; `from_json` gives back an equal definition."""
        return {
            "app": self.app_id,
            "source": self.source,
            "tables": [
                {
                    "name": table.name,
                    "serverName": table.server_name,
                    "collection": table.collection,
                    "columns": [
                        {
                            "name": column.name,
                            "serverName": column.server_name,
                            "field": column.field,
                            "type": column.type,
                            "optional": column.optional,
                        }
                        for column in table.columns
                    ],
                    "primaryKey": list(table.primary_key),
                }
                for table in self.tables
            ],
            "relationships": dict(self.relationships),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> AppDefinition:
        """The definition that `to_json` wrote."""
        return cls(
            app_id=stored["app"],
            source=stored["source"],
            tables=tuple(
                Table(
                    name=table["name"],
                    server_name=table["serverName"],
                    collection=table["collection"],
                    columns=tuple(
                        Column(
                            name=column["name"],
                            server_name=column["serverName"],
                            field=column["field"],
                            type=cast(ColumnType, column["type"]),
                            optional=column["optional"],
                        )
                        for column in table["columns"]
                    ),
                    primary_key=tuple(table["primaryKey"]),
                )
                for table in stored["tables"]
            ),
            relationships=stored["relationships"],
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a definition, where, and what to do about it.

    `table` and `column` are names, empty where the problem is not in one. `attribute` is the attribute of
    `AppDefinition`, `Table` or `Column` that has to change.
    """

    attribute: str
    message: str
    table: str = ""
    column: str = ""

    def __str__(self) -> str:
        place = ".".join(part for part in (self.table, self.column, self.attribute) if part)
        return f"{place}: {self.message}"


def find_problems(app: AppDefinition) -> list[Problem]:
    """All reasons why `app` must not be published, in the order of its tables; empty when it may."""
    return list(_app_problems(app))


def _app_problems(app: AppDefinition) -> Iterator[Problem]:
    if not APP_ID_PATTERN.fullmatch(app.app_id):
        yield Problem("app_id", "Use lower case letters, digits and underscores only; it must equal ZERO_APP_ID.")
    if not app.tables:
        yield Problem("tables", "Add at least one table.")
    for name in _repeated(table.name for table in app.tables):
        yield Problem("name", "Another table has this name. Rename one of them.", table=name)
    for name in _repeated(table.server_name.lower() for table in app.tables):  # SQLite folds case
        table_name = next(table.name for table in app.tables if table.server_name.lower() == name)
        yield Problem("server_name", f"Another table has the server name {name!r}. Change one.", table=table_name)
    for table in app.tables:
        yield from find_table_problems(table)


def find_table_problems(table: Table) -> Iterator[Problem]:
    """The reasons why `table` on its own must not be published."""

    def problem(attribute: str, message: str, column: str = "") -> Problem:
        return Problem(attribute, message, table=table.name, column=column)

    for attribute, name in (("name", table.name), ("server_name", table.server_name)):
        if reason := _why_not_identifier(name):
            yield problem(attribute, reason)
    if table.server_name.lower().startswith(RESERVED_TABLE_PREFIXES):
        yield problem("server_name", "Names that begin with _zero, sqlite_ or __proto__ are taken. Choose another.")
    if not table.collection or "\0" in table.collection or "$" in table.collection:
        yield problem("collection", "Name an existing collection; a name has no $ and no NUL.")
    elif table.collection.startswith("system."):
        yield problem("collection", "MongoDB's system collections have no change stream. Choose another collection.")

    for name in _repeated(column.name for column in table.columns):
        yield problem("name", "Another column of this table has this name. Rename one of them.", column=name)
    for name in _repeated(column.server_name.lower() for column in table.columns):
        column_name = next(column.name for column in table.columns if column.server_name.lower() == name)
        yield problem("server_name", "Another column of this table has this server name. Change one.", column_name)
    for column in table.columns:
        for attribute, name in (("name", column.name), ("server_name", column.server_name)):
            if reason := _why_not_identifier(name):
                yield problem(attribute, reason, column.name)
        if column.server_name.lower() in RESERVED_COLUMNS:
            yield problem("server_name", "zero-cache keeps this name for itself. Choose another.", column.name)
        if column.type not in COLUMN_TYPES:
            yield problem("type", f"Choose one of {', '.join(COLUMN_TYPES)}.", column.name)
        if not column.field or "\0" in column.field:
            yield problem("field", "Name a field of the document.", column.name)
        elif "." in column.field or column.field.startswith("$"):
            yield problem("field", "Only top-level fields can be columns: no dot inside, no $ in front.", column.name)
    yield from _primary_key_problems(table, problem)


def _primary_key_problems(table: Table, problem: Any) -> Iterator[Problem]:
    columns = {column.name: column for column in table.columns}
    if not table.primary_key:
        yield problem("primary_key", "Every Zero table has a primary key. Name the column of _id.")
        return
    for name in table.primary_key:
        column = columns.get(name)
        if column is None:
            yield problem("primary_key", f"There is no column {name!r}. Name columns of this table.")
            continue
        if column.optional:
            yield problem("optional", "A column of the primary key is never null. Make it required.", name)
        if column.type == "json":
            yield problem("type", "A json column cannot be in a primary key. Use string, number or boolean.", name)
    if [columns[name].field for name in table.primary_key if name in columns] != ["_id"]:
        yield problem(
            "primary_key",
            "The primary key must be the one column of the field _id: "
            "it is all that MongoDB says about a document that was deleted.",
        )


def _why_not_identifier(name: str) -> str:
    if not IDENTIFIER_PATTERN.fullmatch(name):
        return "Begin with a letter or underscore, and go on with letters, digits, underscores and hyphens."
    if len(name) > MAX_IDENTIFIER_LENGTH:
        return f"Use at most {MAX_IDENTIFIER_LENGTH} characters."
    return ""


def _repeated(names: Iterator[str] | Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
