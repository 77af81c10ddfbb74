"""What MongoDB's own server is known to send, and what has to become of it.

No server of MongoDB was at hand when this was written. What is here are facts, in our own words and
with made-up data, each with the public text that states it: MongoDB's manual (CC BY-NC-SA 3.0), the
drivers' specification of change streams (CC BY-NC-SA 3.0 US) and the server's own tests of change
streams (SSPL). Nothing of those texts is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import Decimal128, Int64
from bson.raw_bson import RawBSONDocument

from tests.mongod.events import (
    DATABASE,
    delete,
    event,
    in_transaction,
    insert,
    of_document,
    rename,
    replacement,
    update,
)
from tests.mongod.scripted_server import Reply

MANUAL = "https://www.mongodb.com/docs/manual/reference/change-events/"
SPECIFICATION = "https://github.com/mongodb/specifications/blob/master/source/change-streams/"
SERVER_TESTS = "https://github.com/mongodb/mongo/blob/master/jstests/change_streams/"

Change = tuple[str, Any]
"""What a frame does, and its row or key; for a truncate, the name of the table."""


@dataclass(frozen=True)
class KnownStream:
    """One stream. `replies` are those of the server. `commits` are the changes of each Zero
    transaction that has any, in the tables `city` (`_id`, `name`, `tags`), `item` (one row for each
    item of an order), and `old_city`, which has no documents. `documents` are what look-ups
    find."""

    name: str
    source: str
    versions: str
    replies: Sequence[Reply]
    commits: Sequence[Sequence[Change]]
    documents: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    server_version: tuple[int, int, int] = (8, 0, 4)
    is_router: bool = False
    row_errors: int = 0


def bern(name: str = "Bern", **fields: Any) -> dict[str, Any]:
    return {"_id": 1, "name": name, **fields}


def row(number: Any, name: str | None, tags: str | None = None) -> Change:
    return "insert", {"_id": str(number), "name": name, "tags": tags}


def gone(number: Any) -> Change:
    return "delete", {"_id": str(number)}


def item(order: int, sku: str) -> Change:
    return "insert", {"order": str(order), "sku": sku}


LOOKED_UP = {"city": [bern("now")]}
ORDER = {"_id": 5, "items": [{"sku": "a"}, {"sku": "b"}]}
NOT_TEXT = RawBSONDocument(bson.encode({"_id": "a+", "name": "Bern"}).replace(b"+", b"\xff"))

DOCUMENT_EVENTS = [
    KnownStream("insert", f"{MANUAL}insert/", "6.0+", [[insert(1, bern())]], [[row(1, "Bern")]]),
    KnownStream(
        "replace", f"{MANUAL}replace/", "6.0+", [[replacement(1, bern("Berne"))]], [[row(1, "Berne")]], LOOKED_UP
    ),
    KnownStream("delete", f"{MANUAL}delete/", "6.0+", [[delete(1, 1)]], [[gone(1)]]),
    KnownStream(
        "update without a post-image",
        f"{MANUAL}update/",
        "6.0+",
        [[update(1, 1, {"name": "then"})]],
        [[row(1, "now")]],
        LOOKED_UP,
    ),
    KnownStream(
        "update of a document that has been deleted since",
        f"{MANUAL}update/",
        "6.0+",
        [[update(1, 1, {"name": "then"})]],
        [[gone(1)]],
    ),
    KnownStream(
        "update with a post-image",
        f"{SERVER_TESTS}lookup_pit_pre_and_post_image.js",
        "6.0+",
        [[update(1, 1, {"name": "then"}, fullDocument=bern("then"))]],
        [[row(1, "then")]],
        LOOKED_UP,
    ),
    KnownStream(
        "document key of a sharded collection",
        f"{MANUAL}update/",
        "6.0+",
        [[of_document(1, "delete", 1, documentKey={"region": "west", "_id": 1})]],
        [[gone(1)]],
        is_router=True,
    ),
    KnownStream(
        "several events of one document in one reply",
        f"{SERVER_TESTS}change_stream.js",
        "6.0+",
        [[insert(1, bern()), update(2, 1, {"name": "now"}), delete(3, 1)], [insert(4, bern("again"))]],
        [[gone(1)], [row(1, "again")]],
        LOOKED_UP,
    ),
    KnownStream(
        "fields that a later server adds",
        f"{SPECIFICATION}change-streams.md#response-format",
        "any later one",
        [[insert(1, bern(), ns={"db": DATABASE, "coll": "city", "viewOn": "x"}, extra={"a": [1]})]],
        [[row(1, "Bern")]],
    ),
]

UPDATE_DESCRIPTIONS = [
    KnownStream(
        name,
        f"{SERVER_TESTS}expanded_update_description.js",
        "6.1+",
        [[update(1, 1, **description)]],
        [[row(1, "now")]] if is_read else [],
        LOOKED_UP,
    )
    for name, description, is_read in [
        ("element of an array", {"updated": {"tags.0.b": 3}}, True),
        ("removed field", {"removed": ["name"]}, True),
        ("array that became shorter", {"truncated": [{"field": "tags", "newSize": 1}]}, True),
        ("array within, that became shorter", {"truncated": [{"field": "tags.0.list", "newSize": 1}]}, True),
        (
            "numeric name of a field in an object",
            {"updated": {"tags.0.1": 2}, "paths": {"tags.0.1": ["tags", "0", "1"]}},
            True,
        ),
        (
            "names with dots below a field that is read",
            {"updated": {"tags.sub.obj.0.b.c": 2}, "paths": {"tags.sub.obj.0.b.c": ["tags", "sub.obj", 0, "b.c"]}},
            True,
        ),
        ("nothing that changed", {}, True),
        ("field that no table reads", {"updated": {"other.name": 1}, "removed": ["more"]}, False),
        ("longer name of a field", {"updated": {"names": 1}, "truncated": [{"field": "tagsX.0", "newSize": 0}]}, False),
        (
            "field that no table reads and has dots in its name",
            {"updated": {"x.name": 1}, "paths": {"x.name": ["x.name"]}},
            False,
        ),
    ]
]

_INDEX = {"v": 2, "key": {"name": 1}, "name": "name_1"}
_STATE = {"collectionOptions": {"uuid": b"\x0a" * 16}}
OTHER_OPERATIONS = [
    KnownStream(
        name,
        source,
        versions,
        [[insert(1, bern()), event(2, name.split()[0], collection, **fields), insert(3, {"_id": 2, "name": "Biel"})]],
        [[row(1, "Bern"), row(2, "Biel")]],
    )
    for name, source, versions, collection, fields in [
        ("create", f"{MANUAL}create/", "6.0+", "city", {"operationDescription": {"idIndex": _INDEX}}),
        ("create with nsType", f"{MANUAL}create/", "8.1+", "city", {"nsType": "collection"}),
        (
            "create of a view",
            f"{SERVER_TESTS}ddl_view_events.js",
            "6.0+",
            "view",
            {"operationDescription": {"viewOn": "city", "pipeline": [{"$match": {"a": 2}}]}, "nsType": "view"},
        ),
        (
            "create of a time series",
            f"{SERVER_TESTS}ddl_view_events.js",
            "6.0+",
            "measures",
            {"operationDescription": {"viewOn": "system.buckets.measures", "pipeline": []}, "nsType": "timeseries"},
        ),
        ("drop of a view", f"{SERVER_TESTS}ddl_view_events.js", "6.0+", "view", {}),
        ("createIndexes", f"{MANUAL}createIndexes/", "6.0+", "city", {"operationDescription": {"indexes": [_INDEX]}}),
        ("dropIndexes", f"{MANUAL}dropIndexes/", "6.0+", "city", {"operationDescription": {"indexes": [_INDEX]}}),
        (
            "modify",
            f"{MANUAL}modify/",
            "6.0+",
            "city",
            {"operationDescription": {"validationLevel": "off"}, "stateBeforeChange": _STATE},
        ),
        (
            "modify of an index",
            f"{SERVER_TESTS}ddl_coll_mod_event.js",
            "6.0+",
            "city",
            {
                "operationDescription": {"index": {"name": "name_1", "expireAfterSeconds": Int64(100)}},
                "stateBeforeChange": {**_STATE, "indexOptions": {"hidden": False}},
            },
        ),
        (
            "shardCollection",
            f"{MANUAL}shardCollection/",
            "6.0+",
            "city",
            {"operationDescription": {"shardKey": {"_id": 1}, "unique": False, "numInitialChunks": Int64(0)}},
        ),
        (
            "refineCollectionShardKey",
            f"{MANUAL}refineCollectionShardKey/",
            "6.0+",
            "city",
            {"operationDescription": {"shardKey": {"_id": 1, "name": 1}, "oldShardKey": {"_id": 1}}},
        ),
        (
            "reshardCollection",
            f"{MANUAL}reshardCollection/",
            "6.0.14+, 6.1+",
            "city",
            {"operationDescription": {"reshardUUID": b"\x0c" * 16, "shardKey": {"name": 1}, "unique": False}},
        ),
        ("endOfTransaction", f"{SERVER_TESTS}end_of_transaction.js", "8.2+", None, {"operationDescription": {}}),
        ("notYetInvented", f"{SPECIFICATION}change-streams.md#response-format", "any later one", "city", {"x": 1}),
        ("notYetInvented elsewhere", f"{SPECIFICATION}change-streams.md#response-format", "any later one", None, {}),
    ]
]

DROPS_AND_RENAMES = [
    KnownStream(
        "drop",
        f"{MANUAL}drop/",
        "6.0+",
        [[insert(1, bern())], [event(2, "drop")], [insert(3, bern("again"))]],
        [[row(1, "Bern")], [("truncate", "city")], [row(1, "again")]],
    ),
    KnownStream(
        "drop of a sharded collection, once from each shard",
        f"{SERVER_TESTS}apply_ops.js",
        "6.0+",
        [[event(2, "drop"), event(3, "drop")], [insert(4, bern())]],
        [[("truncate", "city")], [row(1, "Bern")]],
        is_router=True,
    ),
    KnownStream(
        "rename to a name that no table reads",
        f"{MANUAL}rename/",
        "6.0+",
        [[rename(1, "city", "elsewhere")]],
        [[("truncate", "city")]],
    ),
    KnownStream(
        "rename onto a collection that is read",
        f"{MANUAL}rename/",
        "6.0+",
        [[rename(1, "old_city", "city", dropTarget=b"\x0d" * 16)]],
        [[("truncate", "old_city"), ("truncate", "city"), row(1, "now")]],
        LOOKED_UP,
    ),
    KnownStream(
        "$out: a temporary collection renamed",
        f"{SERVER_TESTS}metadata_notifications.js",
        "6.0+",
        [[insert(1, bern(), collection="tmp.agg_out.1"), rename(2, "tmp.agg_out.1", "city", dropTarget=b"\x0d" * 16)]],
        [[("truncate", "city"), row(1, "now")]],
        LOOKED_UP,
    ),
    KnownStream(
        "rename from another database: a staging collection renamed",
        f"{SERVER_TESTS}cross_db_rename_no_staging_events.js",
        "6.0+",
        [[rename(2, "tmpa1B2c.renameCollection", "city")]],
        [[("truncate", "city"), row(1, "now")]],
        LOOKED_UP,
    ),
    KnownStream(
        "dropDatabase and its invalidate",
        f"{MANUAL}invalidate/",
        "6.0+",
        [
            [
                event(1, "drop"),
                event(2, "dropDatabase", None, ns={"db": DATABASE}),
                event(2, "invalidate", None),
            ],
            [insert(3, bern())],
        ],
        [[("truncate", "city")], [row(1, "Bern")]],
    ),
]

TRANSACTIONS = [
    KnownStream(
        "transaction over several replies",
        f"{SERVER_TESTS}apply_ops.js",
        "6.0+",
        [
            in_transaction(insert(1, bern()), insert(1, {"_id": 2, "name": "Biel"})),
            in_transaction(update(1, 1, {"name": "x"}, fullDocument=bern("x")), delete(1, 3)),
            [insert(2, {"_id": 4, "name": "Chur"})],
        ],
        [[row(2, "Biel"), row(1, "x"), gone(3), row(4, "Chur")]],
    ),
    KnownStream(
        "transaction with its end",
        f"{SERVER_TESTS}end_of_transaction.js",
        "8.2+",
        [
            in_transaction(
                insert(1, bern()), event(1, "endOfTransaction", None, operationDescription={"txnNumber": Int64(1)})
            ),
            in_transaction(insert(2, {"_id": 2, "name": "Biel"}), number=2),
        ],
        [[row(1, "Bern")], [row(2, "Biel")]],
        server_version=(8, 2, 0),
    ),
    KnownStream(
        "collection and index made in a transaction",
        f"{SERVER_TESTS}ddl_create_index_txn.js",
        "6.0+",
        [
            [event(1, "create")],
            in_transaction(event(2, "createIndexes", operationDescription={"indexes": [_INDEX]}), insert(2, bern())),
        ],
        [[row(1, "Bern")]],
    ),
    KnownStream(
        "transactions of several shards, mixed at one cluster time",
        f"{MANUAL}insert/",
        "6.0+",
        [
            [*in_transaction(insert(1, bern())), *in_transaction(insert(1, {"_id": 2, "name": "Biel"}), number=2)],
            in_transaction(insert(1, {"_id": 3, "name": "Chur"})),
            in_transaction(insert(2, {"_id": 4, "name": "Davos"})),
        ],
        [[row(1, "Bern"), row(2, "Biel"), row(3, "Chur")], [row(4, "Davos")]],
        is_router=True,
    ),
    KnownStream(
        "insertMany at one cluster time, which is no transaction",
        f"{SERVER_TESTS}apply_ops_vectored_insert.js",
        "8.0+",
        [[insert(1, bern()), insert(1, {"_id": 2, "name": "Biel"})], [insert(1, {"_id": 3, "name": "Chur"})]],
        [[row(1, "Bern"), row(2, "Biel")], [row(3, "Chur")]],
    ),
    KnownStream(
        "retryable applyOps, which has the fields of a transaction",
        f"{SERVER_TESTS}apply_ops_atomic_retryable.js",
        "8.0+",
        [in_transaction(insert(1, bern()), insert(1, {"_id": 2, "name": "Biel"})), [insert(2, bern("x"))]],
        [[row(2, "Biel"), row(1, "x")]],
    ),
]


def fragments(step: int, *parts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Splits a large event: each fragment has a token of its own, and each other field is in one of
    them."""
    return [
        {"_id": {"_data": f"82{step:08X}{number:02X}"}, "splitEvent": {"fragment": number, "of": len(parts)}, **part}
        for number, part in enumerate(parts, start=1)
    ]


def _split(event_of_document: dict[str, Any], *later: str) -> list[dict[str, Any]]:
    fields = {name: value for name, value in event_of_document.items() if name != "_id"}
    first = {name: value for name, value in fields.items() if name not in later}
    return fragments(1, first, *({name: fields[name]} for name in later))


IMAGES_AND_LARGE_EVENTS = [
    KnownStream(
        "large event in fragments",
        f"{SERVER_TESTS}split_large_event.js",
        "6.0.9+, 7.0+",
        [_split(update(1, 1, fullDocument=bern("big"), fullDocumentBeforeChange=bern("before")), "fullDocument")],
        [[row(1, "big")]],
    ),
    KnownStream(
        "fragments in several replies",
        f"{SERVER_TESTS}split_large_event.js",
        "6.0.9+, 7.0+",
        [
            [each]
            for each in _split(
                update(1, 1, fullDocument=bern("big"), fullDocumentBeforeChange=bern("before")),
                "fullDocumentBeforeChange",
                "fullDocument",
            )
        ],
        [[row(1, "big")]],
    ),
    KnownStream(
        "pre- and post-image",
        f"{SERVER_TESTS}lookup_pit_pre_and_post_image.js",
        "6.0+",
        [
            [
                of_document(
                    1,
                    "update",
                    5,
                    collection="order",
                    fullDocument={"_id": 5, "items": [{"sku": "b"}]},
                    fullDocumentBeforeChange=ORDER,
                )
            ],
            [of_document(2, "delete", 5, collection="order", fullDocumentBeforeChange={"_id": 5, "items": []})],
        ],
        [[("delete", {"order": "5", "sku": "a"})]],
    ),
    KnownStream(
        "pre-image that has expired",
        f"{SPECIFICATION}change-streams.md#response-format",
        "6.0+",
        [[of_document(1, "delete", 4, collection="order", fullDocumentBeforeChange=None)]],
        [[("truncate", "item"), item(5, "a"), item(5, "b")]],
        {"order": [ORDER]},
    ),
]

IDS = [
    KnownStream(
        "update, then a replacement with an equal number of another type as _id",
        "https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/",
        "6.0+",
        [
            [update(1, 70, {"name": "x"}), replacement(2, {"_id": Decimal128("70.0"), "name": "y"})],
            [update(3, Int64(70), {"name": "z"})],
            [delete(4, 70.0)],
        ],
        [[row(70, "y")], [row(70, "z")], [gone(70)]],
        {"city": [{"_id": Decimal128("70.0"), "name": "z"}]},
    ),
    KnownStream(
        "_id with text that is not UTF-8",
        "https://www.mongodb.com/docs/manual/reference/bson-types/#string",
        "6.0+",
        [
            [
                of_document(1, "insert", 0, documentKey=NOT_TEXT, fullDocument=NOT_TEXT),
                insert(2, bern()),
                of_document(3, "update", 0, documentKey=NOT_TEXT, fullDocument=None),
                of_document(4, "delete", 0, documentKey=NOT_TEXT),
            ],
            [of_document(5, "insert", 0, documentKey=NOT_TEXT, fullDocument=NOT_TEXT)],
            [insert(6, bern("next"))],
        ],
        [[row(1, "Bern")], [row(1, "next")]],
        row_errors=1,
    ),
]

KNOWN_STREAMS = [
    *DOCUMENT_EVENTS,
    *UPDATE_DESCRIPTIONS,
    *OTHER_OPERATIONS,
    *DROPS_AND_RENAMES,
    *TRANSACTIONS,
    *IMAGES_AND_LARGE_EVENTS,
    *IDS,
]
