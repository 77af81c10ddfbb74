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

COLLECTIONS = ("accounts", "rooms", "users", "papers", "orders")
"""What is written to; `ATTIC` is where a collection is renamed to and comes back from."""
ATTIC = "attic"


def table(name: str, columns: dict[str, Any], *key: str) -> dict[str, Any]:
    return {"name": name, "columns": columns, "primaryKey": list(key or ("_id",))}


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
}
"""Each without one is a collection as it is."""

ROW_FILTERS: dict[str, Any] = {
    "orders": {"tenant": {"$in": ["north", "south"]}},
    "lines": {"tenant": "$client.tenant"},
}
ATTRIBUTES = {"tenant": "north"}
"""What the client may see: of orders two tenants, of their lines one."""
