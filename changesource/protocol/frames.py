"""Zero's change source protocol v0, downstream: the text frames, as UTF-8 JSON without newlines.

Frames are bytes so that they go from the log to the socket unchanged. All transactions say `"json":
"s"`: a string in a json column is JSON text, which zero-cache stores as it is (Zero:
types/lite.ts). That is the cheapest form for both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from changesource.protocol.watermarks import Position

MAX_BACKFILL_BYTES = 256 * 1024
"""Large enough for zero-cache to gain from many rows a message, small enough for a slow reader. Its
own limit is 100 MiB."""

Row = Mapping[str, Any]
"""Server column name → JSON value, in the order of the columns."""


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column as announced to zero-cache; `pg_type` is the name of a PostgreSQL type."""

    name: str
    pg_type: str
    is_required: bool


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table as announced to zero-cache. The `schema` "public" means none: queries call the table
    `name`. Each of `indexes` holds the columns of one index that is not unique."""

    name: str
    columns: tuple[ColumnSpec, ...]
    key: tuple[str, ...]
    schema: str = "public"
    indexes: tuple[tuple[str, ...], ...] = ()

    @property
    def relation(self) -> dict[str, Any]:
        return {"schema": self.schema, "name": self.name, "rowKey": {"columns": list(self.key)}}


class TableFrames:
    """The row messages of one table."""

    __slots__ = ("_delete_prefix", "_insert_prefix", "spec")

    def __init__(self, spec: TableSpec) -> None:
        self.spec = spec
        relation = orjson.dumps(spec.relation)
        self._insert_prefix = b'["data",{"tag":"insert","relation":' + relation + b',"new":'
        self._delete_prefix = b'["data",{"tag":"delete","relation":' + relation + b',"key":'

    def upsert(self, row: Row) -> bytes:
        """An `insert`, which Zero applies as INSERT OR REPLACE, so it serves for new and for
        changed rows."""
        return self._insert_prefix + orjson.dumps(row) + b"}]"

    def delete(self, key: Row) -> bytes:
        """A `delete`, which does nothing if the row is missing."""
        return self._delete_prefix + orjson.dumps(key) + b"}]"

    def truncate(self) -> bytes:
        return _frame(["data", {"tag": "truncate", "relations": [self.spec.relation]}])

    def backfills(self, position: Position) -> Backfills:
        """Frames of many rows each, for snapshots only: zero-cache shows them to clients when the
        snapshot commits."""
        return Backfills(self.spec, position)


class Backfills:
    """Collects rows into frames. A frame ends with the row that takes it to `MAX_BACKFILL_BYTES` or
    beyond."""

    __slots__ = ("_names", "_prefix", "_size", "_values")

    def __init__(self, spec: TableSpec, position: Position) -> None:
        others = [column.name for column in spec.columns if column.name not in spec.key]
        self._names = [*spec.key, *others]
        head = {"tag": "backfill", "relation": spec.relation, "columns": others, "watermark": position.watermark}
        self._prefix = b'["data",' + orjson.dumps(head)[:-1] + b',"rowValues":['
        self._values: list[bytes] = []
        self._size = 0

    def add(self, rows: Iterable[Row]) -> Iterator[bytes]:
        """Adds `rows` and yields the frames that are full."""
        for row in rows:
            self._values.append(orjson.dumps([row[name] for name in self._names]))
            self._size += len(self._values[-1])
            if self._size >= MAX_BACKFILL_BYTES:
                yield from self.rest()

    def rest(self) -> Iterator[bytes]:
        """The frame of the remaining rows, if there are any."""
        if self._values:
            yield self._prefix + b",".join(self._values) + b"]}]"
            self._values, self._size = [], 0


def begin(position: Position) -> bytes:
    return _frame(["begin", {"tag": "begin", "json": "s"}, {"commitWatermark": position.watermark}])


def commit(position: Position, commit_time_ms: int) -> bytes:
    """The end of the transaction. zero-cache measures its lag by `commit_time_ms`, epoch
    milliseconds by the source's clock."""
    return _frame(["commit", {"tag": "commit", "commitTimeMs": commit_time_ms}, {"watermark": position.watermark}])


def rollback() -> bytes:
    """Ends the open transaction without effect. Not allowed in a snapshot."""
    return _frame(["rollback", {"tag": "rollback"}])


def reset_required(message: str) -> bytes:
    """Makes zero-cache throw its replica away and ask for a snapshot."""
    return _frame(["control", {"tag": "reset-required", "message": message}])


def create_table(spec: TableSpec) -> list[bytes]:
    """The table, its unique index and its other indexes. zero-cache hides a table without a unique
    index on required columns."""
    columns = {column.name: _column(column, pos) for pos, column in enumerate(spec.columns, start=1)}
    table = {"schema": spec.schema, "name": spec.name, "columns": columns, "primaryKey": list(spec.key)}
    return [
        _frame(["data", {"tag": "create-table", "spec": table}]),
        _create_index(spec, _key_index_name(spec.name), spec.key, is_unique=True),
        *(create_index(spec, index) for index in spec.indexes),
    ]


def create_index(spec: TableSpec, columns: Sequence[str]) -> bytes:
    """Creates one of the table's `indexes`. The replica must not have it yet, or zero-cache exits
    for good."""
    return _create_index(spec, _index_name(spec.name, columns), columns, is_unique=False)


def drop_index(table: str, columns: Sequence[str]) -> bytes:
    """Drops an index of a table in the schema "public". Does nothing if the replica does not have
    it."""
    return _frame(["data", {"tag": "drop-index", "id": {"schema": "public", "name": _index_name(table, columns)}}])


def _create_index(spec: TableSpec, name: str, columns: Sequence[str], *, is_unique: bool) -> bytes:
    index = {
        "schema": spec.schema,
        "name": name,
        "tableName": spec.name,
        "unique": is_unique,
        "columns": dict.fromkeys(columns, "ASC"),  # SQLite reads an index backwards as well
    }
    return _frame(["data", {"tag": "create-index", "spec": index}])


def _key_index_name(table: str) -> str:
    """Index names are global in the replica, and tables share their namespace. No table or column
    has a colon in its name."""
    return f"{table}:key"


def _index_name(table: str, columns: Sequence[str]) -> str:
    """The second colon distinguishes the name from that of the key's index. Each list of columns
    has one name, the same in all versions."""
    return ":".join((table, "index", *columns))


def drop_table(name: str) -> bytes:
    """Drops the table and its indexes. Does nothing if the replica does not have it."""
    return _frame(["data", {"tag": "drop-table", "id": {"schema": "public", "name": name}}])


def add_column(spec: TableSpec, name: str) -> bytes:
    """Adds one of the table's optional columns, which is null in existing rows. The replica must
    not have it yet, or zero-cache exits for good."""
    pos, column = next((pos, column) for pos, column in enumerate(spec.columns, start=1) if column.name == name)
    table = {"schema": spec.schema, "name": spec.name}
    return _frame(
        ["data", {"tag": "add-column", "table": table, "column": {"name": name, "spec": _column(column, pos)}}]
    )


def _column(column: ColumnSpec, pos: int) -> dict[str, Any]:
    return {"pos": pos, "dataType": column.pg_type, "notNull": column.is_required}


def drop_column(table: str, column: str) -> bytes:
    """Drops a column, which must not be in any index, or zero-cache exits for good."""
    return _frame(["data", {"tag": "drop-column", "table": {"schema": "public", "name": table}, "column": column}])


def zero_tables(app_id: str, shard_num: int) -> tuple[TableSpec, TableSpec, TableSpec]:
    """The tables that zero-cache requires: clients, mutations, permissions.

    `mutations` has both `mutation`, which the initial sync checks for, and `result`, which is what
    zero-cache reads (Zero: change-source/custom/change-source.ts, view-syncer/client-handler.ts).
    """
    shard_schema = f"{app_id}_{shard_num}"
    clients = TableSpec(
        schema=shard_schema,
        name="clients",
        columns=(
            ColumnSpec("clientGroupID", "text", True),
            ColumnSpec("clientID", "text", True),
            ColumnSpec("lastMutationID", "int8", True),
            ColumnSpec("userID", "text", False),
        ),
        key=("clientGroupID", "clientID"),
    )
    mutations = TableSpec(
        schema=shard_schema,
        name="mutations",
        columns=(
            ColumnSpec("clientGroupID", "text", True),
            ColumnSpec("clientID", "text", True),
            ColumnSpec("mutationID", "int8", True),
            ColumnSpec("mutation", "json", False),
            ColumnSpec("result", "json", False),
        ),
        key=("clientGroupID", "clientID", "mutationID"),
    )
    permissions = TableSpec(
        schema=app_id,
        name="permissions",
        columns=(
            ColumnSpec("lock", "bool", True),
            ColumnSpec("permissions", "json", False),
            ColumnSpec("hash", "text", False),
        ),
        key=("lock",),
    )
    return clients, mutations, permissions


@dataclass(frozen=True, slots=True)
class PermissionsRow:
    """Zero's permissions as JSON text, and a hash that changes with them. Without permissions,
    zero-cache shows no rows to queries that clients define themselves."""

    permissions: str | None = None
    hash: str | None = None

    @property
    def again(self) -> PermissionsRow:
        """The same rules in another text. A change of the text alone makes zero-cache ask for named
        queries again."""
        text = '{"tables":{}}' if self.permissions is None else f"{self.permissions} "
        return PermissionsRow(text, f"{self.hash} again")


def permissions_row(app_id: str, shard_num: int, row: PermissionsRow) -> bytes:
    """The only row of permissions, which has to exist from the start and is never deleted.
    zero-cache reads it again when its hash has changed (Zero: auth/load-permissions.ts)."""
    spec = zero_tables(app_id, shard_num)[2]
    return TableFrames(spec).upsert({"lock": True, "permissions": row.permissions, "hash": row.hash})


def _frame(message: Sequence[Any]) -> bytes:
    return orjson.dumps(message)
