"""What an app publishes: tables, their columns and keys, as plain data.

A published version is stored as the JSON of an `AppDefinition` and never changes. Zero knows a table or a column by two
names: the one that queries use (`name`), and the one in the replica of zero-cache (`server_name`; Zero: `serverName` in the
JSON of a schema, the same as `name` unless given).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from changesource.mql import MqlError, normal_mapping_text

ColumnType = Literal["string", "number", "boolean", "json"]
COLUMN_TYPES: tuple[ColumnType, ...] = get_args(ColumnType)

APP_ID_PATTERN = re.compile(r"[a-z0-9_]+")
"""Zero: an app id is lower case letters, digits and underscores (zero-config.ts, `app.id`)."""

MAX_APP_ID_LENGTH = 48
"""zero-cache has a table `<app>_<shard>.mutations`, and refuses clients when a name in SQLite is longer than 63 characters
(seen with 1.9.0). This leaves four digits for the shard."""

IDENTIFIER_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
"""Zero: names of tables and columns (change-source/pg/schema/validation.ts)."""
IDENTIFIER_RULE = "Begin with a letter or underscore, and continue with letters, digits, underscores and hyphens."

MAX_IDENTIFIER_LENGTH = 63
"""PostgreSQL's limit, which Zero's own change source has for the names of tables and columns."""

RESERVED_COLUMNS = frozenset({"_0_version", "__proto__"})
"""The column that zero-cache adds to every table of its replica, and a name that no object in JavaScript can have as an
ordinary key."""

RESERVED_TABLE_PREFIXES = ("_zero", "sqlite_", "__proto__")
"""Prefixes that zero-cache, SQLite and JavaScript reserve for themselves."""

RESERVED_COLLECTION_PREFIX = "zero_sources_"
"""The prefix of collections that belong to this project, in every source."""
MARKERS_COLLECTION = f"{RESERVED_COLLECTION_PREFIX}markers"

MAX_FILTER_COLUMNS = 16
"""The limit of a table. For every change, the log carries the values of each before and after it."""

MAX_INDEXES = 64
"""The limit of a table, besides the index of its primary key. It is MongoDB's own. Each index makes every change of a row
more expensive."""
MAX_INDEX_COLUMNS = 32
"""The limit of an index, which is that of MongoDB and PostgreSQL."""

MAX_TABLES = 1_000
"""The limit of an app. Each page of an app, and each publish, looks at all of its tables."""
MAX_COLUMNS = 1_000
"""The limit of a table. zero-cache fails permanently at 2,000, SQLite's limit (SQLITE_MAX_COLUMN), with one column of its
own."""
MAX_KEY_BYTES = 2_500
"""The limit of a row's primary key: the UTF-8 of names and values, and 8 bytes for each column. zero-cache keeps the keys of
the rows that clients see in an index of PostgreSQL, whose entries have up to 2,704 bytes, including the names of the table
and the client group. It disconnects each client that meets a larger key (seen with 1.9.0)."""
MAX_TEXT_LENGTH = 50_000
"""The limit of a table's mapping or permissions, in characters. Every process that streams parses and compiles them."""
MAX_ALL_TEXT_LENGTH = 500_000
"""The limit of all mappings, permissions, relationships, publications and queries of an app together."""


def why_not_a_name(name: str) -> str:
    """Why a name is refused; empty if it is accepted. Such a name may have any characters, except those that are invisible or
    change how others are shown: they make two names look like one, and one line of a log like another."""
    if not name.isprintable():
        return "Use printable characters only."
    return "Begin and end with another character than a space." if name != name.strip() else ""


def shown_name(name: str) -> str:
    """A name as people can read it in a message, whatever its characters."""
    return name if name.isprintable() else repr(name)[1:-1]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table. It shows the top-level `field` of the documents that the mapping gives."""

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
    """One Zero table. `primary_key` holds names of columns; `collection` holds the documents.

    `mapping` is Extended JSON, `{"filter"?, "projection"?}` or `{"pipeline"}`, and says what becomes of a document before the
    columns are taken from it. If it is empty, a document is taken as it is. `permissions` is Extended JSON too: the rules
    of `rules.syntax`. If it is empty there are no rules, and a query that a client defines shows no row. `filter_columns` are
    the names of the columns that the row filters of clients may use. Each of `indexes` is a secondary index of the replica:
    the names of its columns, in order.
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    server_name: str = ""
    collection: str = ""
    mapping: str = ""
    permissions: str = ""
    filter_columns: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "server_name", self.server_name or self.name)
        object.__setattr__(self, "collection", self.collection or self.server_name)
        # Text that is not JSON is kept as it is; `find_problems` reports it.
        with suppress(MqlError):
            object.__setattr__(self, "mapping", normal_mapping_text(self.mapping))
        with suppress(MqlError):
            object.__setattr__(self, "permissions", normal_mapping_text(self.permissions))

    def server_names(self, names: Iterable[str]) -> tuple[str, ...]:
        """The server names of the columns with these names, in their order."""
        by_name = {column.name: column.server_name for column in self.columns}
        return tuple(by_name[name] for name in names)


@dataclass(frozen=True, slots=True)
class AppDefinition:
    """Everything that one published version of an app says. `source` is a key of the setting that holds URIs.

    `publications` are the groups of tables that a zero-cache may ask for: name → names of tables. `queries` are the named
    queries that are written with the app (`queries.written`), by name.
    """

    app_id: str
    source: str
    tables: tuple[Table, ...]
    relationships: Mapping[str, Any] = field(default_factory=dict)
    publications: Mapping[str, Any] = field(default_factory=dict)
    queries: Mapping[str, Any] = field(default_factory=dict)

    def origins(self) -> dict[str, str]:
        """Name of a table → where its documents are, as `source.collection`. A grant that names a table means these."""
        return {table.name: f"{self.source}.{table.collection}" for table in self.tables}

    def to_json(self) -> dict[str, Any]:
        """The form that is stored: plain dicts and lists, of which `from_json` makes an equal definition."""
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
                    **({"mapping": table.mapping} if table.mapping else {}),
                    **({"permissions": table.permissions} if table.permissions else {}),
                    **({"filterColumns": list(table.filter_columns)} if table.filter_columns else {}),
                    **({"indexes": [list(index) for index in table.indexes]} if table.indexes else {}),
                }
                for table in self.tables
            ],
            "relationships": dict(self.relationships),
            **({"publications": dict(self.publications)} if self.publications else {}),
            **({"queries": dict(self.queries)} if self.queries else {}),
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
                    mapping=table.get("mapping", ""),
                    permissions=table.get("permissions", ""),
                    filter_columns=tuple(table.get("filterColumns", ())),
                    indexes=tuple(tuple(index) for index in table.get("indexes", ())),
                )
                for table in stored["tables"]
            ),
            relationships=stored["relationships"],
            publications=stored.get("publications", {}),
            queries=stored.get("queries", {}),
        )
