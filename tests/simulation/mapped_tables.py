"""Tables with mappings of every kind, over one collection whose documents have fields for each of
them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from changesource.publishing.compiled import CompiledVersion
from changesource.tables.definition import AppDefinition, Column, Table
from tests.simulation.builders import APP_ID

COLLECTION = "thing"

Rows = dict[tuple[Any, ...], dict[str, Any]]

NAME = Column("name", "string", optional=True)
ITEM_ROWS = {"$concat": ["$_id", "-", {"$toString": "$index"}]}


def mapped(name: str, mapping: Mapping[str, Any], *columns: Column, key: tuple[str, ...] = ("_id",)) -> Table:
    """Returns a table of `COLLECTION`. Columns of its key that are not among `columns` are
    strings."""
    given = {column.name for column in columns}
    keys = tuple(Column(column, "string") for column in key if column not in given)
    return Table(name, (*keys, *columns), key, collection=COLLECTION, mapping=json.dumps(mapping))


PLAIN = mapped("plain", {}, NAME, Column("n", "number"))
"""A table of the documents as they are. Without a number in `n` there is no row."""

FILTERED = mapped("filtered", {"filter": {"kind": "a"}}, NAME)

PROJECTED = mapped(
    "projected",
    {
        "filter": {"n": {"$gt": 1}, "kind": {"$ne": "b"}},
        "projection": {"title": "$name", "double": {"$multiply": ["$n", 2]}, "number": {"$toInt": "$name"}},
    },
    Column("title", "string", optional=True),
    Column("double", "number"),
    Column("number", "number", optional=True),
)
"""A table in which a `name` that is no number is a row error."""

KIND_A = mapped("kind_a", {"filter": {"kind": "a"}}, Column("n", "number", optional=True))
KIND_B = mapped("kind_b", {"filter": {"kind": "b"}, "projection": {"title": "$name"}}, Column("title", "json", True))

PIPELINE = mapped(
    "pipeline",
    {
        "pipeline": [
            {"$addFields": {"size": {"$size": {"$ifNull": ["$tags", []]}}}},
            {"$match": {"size": {"$gte": 1}}},
            {"$project": {"_id": {"$concat": ["u-", "$_id"]}, "size": 1, "name": 1}},
        ]
    },
    NAME,
    Column("size", "number"),
)
"""A table whose key is computed from `_id`."""

BY_ID = (PLAIN, FILTERED, PROJECTED, KIND_A, KIND_B, PIPELINE)

BY_INDEX = mapped(
    "by_index",
    {
        "pipeline": [
            {"$unwind": {"path": "$items", "includeArrayIndex": "index"}},
            {"$project": {"_id": ITEM_ROWS, "q": "$items.q", "name": 1}},
        ]
    },
    NAME,
    Column("q", "number", optional=True),
)
"""A table in which every row of a document has the document's name."""

BY_ELEMENT = mapped(
    "by_element",
    {
        "pipeline": [
            {"$match": {"kind": {"$in": ["a", "b"]}}},
            {"$unwind": "$items"},
            {"$project": {"_id": "$items.id", "parent": "$_id", "q": "$items.q"}},
        ]
    },
    Column("parent", "string"),
    Column("q", "number"),
)
"""A table in which an element without a number in `q` has no row."""

NESTED = mapped(
    "nested",
    {
        "pipeline": [
            {"$unwind": {"path": "$items", "includeArrayIndex": "i", "preserveNullAndEmptyArrays": True}},
            {"$unwind": {"path": "$items.parts", "includeArrayIndex": "j", "preserveNullAndEmptyArrays": True}},
            {
                "$project": {
                    "i": {"$ifNull": ["$i", -1]},
                    "j": {"$ifNull": ["$j", -1]},
                    "item": "$items.id",
                    "part": "$items.parts",
                }
            },
        ]
    },
    Column("i", "number"),
    Column("j", "number"),
    Column("item", "json", optional=True),
    Column("part", "json", optional=True),
    key=("_id", "i", "j"),
)

BY_CODE = mapped("by_code", {"filter": {"code": {"$type": "string"}}}, NAME, key=("code",))
"""A table whose keys come from another field than `_id`. Documents may take keys from each
other."""

BY_TAG = mapped(
    "by_tag",
    {"pipeline": [{"$unwind": "$tags"}, {"$project": {"_id": 1, "tag": "$tags", "n": 1}}]},
    Column("n", "number", optional=True),
    key=("_id", "tag"),
)
"""A table in which a tag that a document has twice is one row and a row error."""

BY_PRE_IMAGES = (BY_INDEX, BY_ELEMENT, NESTED, BY_CODE, BY_TAG)


def version_of(*tables: Table) -> CompiledVersion:
    return CompiledVersion(AppDefinition(APP_ID, "default", tables), 1)


def rows_of(version: CompiledVersion, documents: Iterable[Mapping[str, Any]]) -> dict[str, Rows]:
    """Returns what a fresh snapshot has: the rows of each table by key."""
    found: dict[str, Rows] = {table.table.name: {} for table in version.tables}
    for document in documents:
        for table in version.tables:
            rows = table.table.rows(document, [])
            found[table.table.name].update((table.table.key_of(row), row) for row in rows)
    return found


class MappedReplica:
    """What a zero-cache makes of frames, for any primary key. `counts` counts the frames since
    `reset` by table and tag."""

    def __init__(self, version: CompiledVersion) -> None:
        self.tables: dict[str, Rows] = {table.table.name: {} for table in version.tables}
        self.counts: dict[str, dict[str, int]] = {}
        self._keys = {table.table.name: table.table.spec.key for table in version.tables}

    def apply(self, table: str, frame: bytes) -> None:
        _, change = json.loads(frame)
        rows, names = self.tables[table], self._keys[table]
        counts = self.counts.setdefault(table, {})
        counts[change["tag"]] = counts.get(change["tag"], 0) + 1
        match change["tag"]:
            case "insert":
                rows[tuple(change["new"][name] for name in names)] = change["new"]
            case "delete":
                assert list(change["key"]) == list(names)
                rows.pop(tuple(change["key"].values()), None)
            case "truncate":
                rows.clear()
            case tag:
                raise AssertionError(tag)

    def reset(self) -> None:
        self.counts = {}
