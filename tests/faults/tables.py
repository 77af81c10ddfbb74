"""The tables of the oracle: mappings of every kind, and a row filter."""

from typing import Any

TEXT = {"type": "string"}
TEXT_OR_NULL = {"type": "string", "optional": True}
NUMBER = {"type": "number"}
NUMBER_OR_NULL = {"type": "number", "optional": True}
JSON_OR_NULL = {"type": "json", "optional": True}
ROOM = {"_id": TEXT, "title": TEXT_OR_NULL, "members": JSON_OR_NULL}

BARRIERS = "barriers"
"""The table whose rows say that everything written before them has arrived."""

LONG = "reports"
"""The table of transactions that take long to send."""
LONG_DOCUMENTS = 600
LONG_BODY = 15_000
"""Characters of each of them. They take seconds to send, of which a slow network makes more."""

COLLECTIONS = ("accounts", "rooms", "users", "papers", "orders")
"""What is written to; `ATTIC` is where a collection is renamed to and comes back from."""
ATTIC = "attic"

HEAPS, GRIDS = "heaps", "grids"
SLOW_COLLECTIONS = (HEAPS, GRIDS)
"""What is written to now and then: documents whose rows are expensive to make."""

HEAP_ITEMS = 200_000
"""Elements of the array of a heap."""
HEAP_TABLES = 4
"""Tables of the heaps, each within a document's budget. The rows of one change of a heap, made of its array before and after,
take 3.6 seconds together on an idle core: about twice the lease of the watchers, and more on two cores that are busy."""
KEPT_OF_A_HEAP = 10_007
"""Every so many elements of a heap have a row, so that rows are expensive to make and cheap to keep."""

GRID_SIDES = (0, 3, 40, 3_000)
"""Lengths of the two arrays of a grid. Of two of 3,000 there are 9,000,000 pairs of elements: more rows than one document may
have, and more work, after all the work that one may take."""


def long_documents() -> list[dict[str, Any]]:
    return [{"_id": f"long-{number}", "body": "x" * LONG_BODY} for number in range(LONG_DOCUMENTS)]


def table(name: str, columns: dict[str, Any], *key: str) -> dict[str, Any]:
    return {"name": name, "columns": columns, "primaryKey": list(key or ("_id",))}


def heap_table(number: int) -> str:
    return f"heap_marks_{number}"


SCHEMA: dict[str, Any] = {
    "tables": {
        definition["name"]: definition
        for definition in (
            table(BARRIERS, {"_id": TEXT}),
            table(LONG, {"_id": TEXT, "body": TEXT}),
            table("accounts", {"_id": TEXT, "name": TEXT_OR_NULL, "n": NUMBER_OR_NULL, "tags": JSON_OR_NULL}),
            table("open_accounts", {"_id": TEXT, "name": TEXT_OR_NULL}),
            table("balances", {"_id": TEXT, "title": TEXT_OR_NULL, "double": NUMBER}),
            table("chats", ROOM),
            table("groups", ROOM),
            table("members", {"room": TEXT, "place": NUMBER, "user": TEXT, "role": TEXT_OR_NULL}, "room", "user"),
            table("rights", {"key": TEXT, "right": TEXT_OR_NULL}, "key"),
            table("logins", {"login": TEXT, "owner": TEXT}, "login"),
            table(
                "papers",
                {
                    "_id": TEXT,
                    "body": JSON_OR_NULL,
                    "meta": JSON_OR_NULL,
                    "done": {"type": "boolean", "optional": True},
                },
            ),
            table("orders", {"_id": TEXT, "tenant": TEXT_OR_NULL, "amount": NUMBER_OR_NULL}),
            table(
                "lines", {"order": TEXT, "place": NUMBER, "tenant": TEXT_OR_NULL, "sku": TEXT_OR_NULL}, "order", "place"
            ),
            *(
                table(heap_table(number), {"heap": TEXT, "place": NUMBER, "item": NUMBER_OR_NULL}, "heap", "place")
                for number in range(HEAP_TABLES)
            ),
            table("grid_pairs", {"grid": TEXT, "i": NUMBER, "j": NUMBER}, "grid", "i", "j"),
            table("grid_matches", {"_id": TEXT, "both": NUMBER_OR_NULL}),
            table("grid_ranks", {"_id": TEXT, "above": NUMBER_OR_NULL}),
        )
    },
    "relationships": {},
}


def discriminated(kind: str) -> dict[str, Any]:
    return {
        "source": "rooms",
        "filter": {"kind": kind, "archived": {"$ne": True}},
        "projection": {"title": {"$toUpper": "$name"}, "members": "$members.user"},
    }


IS_ABOVE = {"$gt": [{"$size": {"$filter": {"input": "$b", "as": "other", "cond": {"$lt": ["$$other", "$$this"]}}}}, 5]}
"""Whether an element of one array of a grid has several in the other one that are less: each is compared with each."""

MAPPINGS: dict[str, Any] = {
    "open_accounts": {"source": "accounts", "filter": {"state": "open"}},
    "balances": {
        "source": "accounts",
        "filter": {"n": {"$gt": 2}, "state": {"$ne": "closed"}},
        "projection": {"title": "$name", "double": {"$multiply": ["$n", 2]}},
    },
    "chats": discriminated("chat"),
    "groups": discriminated("group"),
    "members": {
        "source": "rooms",
        "pipeline": [
            {"$unwind": {"path": "$members", "includeArrayIndex": "place"}},
            {"$project": {"_id": 0, "room": "$_id", "user": "$members.user", "role": "$members.role", "place": 1}},
        ],
    },
    "rights": {
        "source": "rooms",
        "pipeline": [
            {"$match": {"kind": {"$in": ["chat", "group"]}}},
            {"$unwind": {"path": "$members", "includeArrayIndex": "i"}},
            {"$unwind": {"path": "$members.rights", "includeArrayIndex": "j", "preserveNullAndEmptyArrays": True}},
            {
                "$project": {
                    "key": {"$concat": ["$_id", "/", {"$toString": "$i"}, "/", {"$toString": {"$ifNull": ["$j", -1]}}]},
                    "right": "$members.rights",
                }
            },
        ],
    },
    "logins": {
        "source": "users",
        "filter": {"login": {"$type": "string"}},
        "projection": {"login": 1, "owner": {"$toString": "$_id"}},
    },
    "orders": {"source": "orders", "filter": {}, "filterColumns": ["tenant"]},
    "lines": {
        "source": "orders",
        "pipeline": [
            {"$unwind": {"path": "$lines", "includeArrayIndex": "place"}},
            {"$project": {"_id": 0, "order": "$_id", "place": 1, "tenant": 1, "sku": "$lines.sku"}},
        ],
        "filterColumns": ["tenant"],
    },
    **{
        heap_table(number): {
            "source": HEAPS,
            "pipeline": [
                {"$unwind": {"path": "$items", "includeArrayIndex": "place"}},
                {"$match": {"items": {"$mod": [KEPT_OF_A_HEAP, number]}}},
                {"$project": {"_id": 0, "heap": "$_id", "place": 1, "item": "$items"}},
            ],
        }
        for number in range(HEAP_TABLES)
    },
    "grid_pairs": {
        "source": GRIDS,
        "pipeline": [
            {"$unwind": {"path": "$a", "includeArrayIndex": "i"}},
            {"$unwind": {"path": "$b", "includeArrayIndex": "j"}},
            {"$match": {"$expr": {"$eq": ["$a", "$b"]}}},
            {"$project": {"_id": 0, "grid": "$_id", "i": 1, "j": 1}},
        ],
    },
    "grid_matches": {
        "source": GRIDS,
        "projection": {"both": {"$size": {"$filter": {"input": "$a", "cond": {"$in": ["$$this", "$b"]}}}}},
    },
    "grid_ranks": {"source": GRIDS, "projection": {"above": {"$size": {"$filter": {"input": "$a", "cond": IS_ABOVE}}}}},
}
"""Each without one is a collection as it is."""

ROW_FILTERS: dict[str, Any] = {
    "orders": {"tenant": {"$in": ["north", "south"]}},
    "lines": {"tenant": "$client.tenant"},
}
ATTRIBUTES = {"tenant": "north"}
"""What the client may see: of orders two tenants, of their lines one."""
