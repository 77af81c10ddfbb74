"""Documents that are not rows yet, in a real zero-cache: filters, discriminators, unwound arrays, keys of other fields."""

from typing import Any

import pytest
from bson import ObjectId

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import Deployment, check_protocol
from tests.e2e.recording_proxy import RecordingProxy

pytestmark = pytest.mark.timeout(300)

RELOADED = "came without a pre-image, so the table is loaded again"
ROOM_COLUMNS = {
    "_id": {"type": "string"},
    "title": {"type": "string", "optional": True},
    "members": {"type": "json", "optional": True},
}
SCHEMA: dict[str, Any] = {
    "tables": {
        "chats": {"name": "chats", "columns": ROOM_COLUMNS, "primaryKey": ["_id"]},
        "groups": {"name": "groups", "columns": ROOM_COLUMNS, "primaryKey": ["_id"]},
        "members": {
            "name": "members",
            "columns": {
                "room": {"type": "string"},
                "user": {"type": "string"},
                "role": {"type": "string", "optional": True},
                "place": {"type": "number"},
            },
            "primaryKey": ["room", "user"],
        },
        "grants": {
            "name": "grants",
            "columns": {"key": {"type": "string"}, "right": {"type": "string", "optional": True}},
            "primaryKey": ["key"],
        },
        "logins": {
            "name": "logins",
            "columns": {"login": {"type": "string"}, "owner": {"type": "string"}},
            "primaryKey": ["login"],
        },
    },
    "relationships": {},
}


def discriminated(kind: str) -> dict[str, Any]:
    return {
        "source": "rooms",
        "filter": {"kind": kind, "archived": {"$ne": True}},
        "projection": {"title": {"$toUpper": "$name"}, "members": "$members.user"},
    }


MAPPINGS = {
    "chats": discriminated("chat"),
    "groups": discriminated("group"),
    "members": {
        "source": "rooms",
        "pipeline": [
            {"$unwind": {"path": "$members", "includeArrayIndex": "place"}},
            {"$set": {"room": "$_id", "user": "$members.user", "role": "$members.role"}},
            {"$project": {"_id": 0, "room": 1, "user": 1, "role": 1, "place": 1}},
        ],
    },
    "grants": {
        "source": "rooms",
        "pipeline": [
            {"$unwind": "$members"},
            {"$unwind": {"path": "$members.rights", "preserveNullAndEmptyArrays": True}},
            {
                "$project": {
                    "key": {
                        "$concat": [
                            {"$toString": "$_id"},
                            "/",
                            "$members.user",
                            "/",
                            {"$ifNull": ["$members.rights", "-"]},
                        ]
                    },
                    "right": "$members.rights",
                }
            },
        ],
    },
    "logins": {"source": "users", "projection": {"login": 1, "owner": {"$toString": "$_id"}}},
}


def room(kind: str, *users: str, **fields: Any) -> dict[str, Any]:
    members = [{"user": user, "role": "member", "rights": ["read", "write"]} for user in users]
    return {"_id": ObjectId(), "kind": kind, "name": "Room", "members": members, **fields}


Tags = dict[str, list[str]]


def changes(proxy: RecordingProxy) -> list[Tags]:
    """For each transaction of the stream after the snapshot that has any, the tags of its changes, by table."""
    found = []
    for connection in proxy.connections:
        for transaction in connection.transactions() if connection.last_watermark else ():
            tags: Tags = {}
            for change in transaction.changes:
                tags.setdefault(change["relation"]["name"], []).append(change["tag"])
            if tags:
                found.append(tags)
    return found


def test_discriminators_arrays_and_keys(deploy: Deploy) -> None:
    """One collection feeds four tables and another has its key in a field: after every kind of change the replica is what the
    mappings say."""
    deployment = deploy(SCHEMA, mappings=MAPPINGS, log="redis")
    rooms, users = deployment.database.rooms, deployment.database.users
    rooms.insert_many(
        [room("chat", "ann", "bob"), room("group", "bob"), room("chat"), room("chat", "cid", archived=True)]
    )
    users.insert_many([{"_id": 1, "login": "ann"}, {"_id": 2, "login": "bob"}])
    big = room("group", *(f"user-{n:04}" for n in range(1_000)))
    rooms.insert_one(big)
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    assert {name: len(rows) for name, rows in snapshot.rows.items()} == {
        "chats": 2,
        "groups": 2,
        "members": 1_004,
        "grants": 2_008,
        "logins": 2,
    }

    change_discriminators(deployment, proxy, zero_cache)
    change_arrays(deployment, proxy, zero_cache, big["_id"])
    change_keys(deployment, zero_cache)
    contents = deployment.wait_until_equal(zero_cache)
    assert contents.replica_version == snapshot.replica_version
    check_protocol(proxy)


def change_discriminators(deployment: Deployment, proxy: RecordingProxy, zero_cache: Any) -> None:
    rooms = deployment.database.rooms
    before = len(changes(proxy))
    rooms.update_one({"kind": "chat", "members.user": "ann"}, {"$set": {"kind": "group"}})
    deployment.wait_until_equal(zero_cache)
    assert changes(proxy)[before:] == [{"chats": ["delete"], "groups": ["insert"]}], "not in one transaction"

    rooms.update_one({"archived": True}, {"$set": {"archived": False}})
    rooms.replace_one({"members.user": "bob"}, {"kind": "chat", "name": "Replaced", "members": [{"user": "eve"}]})
    rooms.update_many({}, {"$set": {"seen": 1}})
    deployment.wait_until_equal(zero_cache)


def change_arrays(deployment: Deployment, proxy: RecordingProxy, zero_cache: Any, big: ObjectId) -> None:
    rooms = deployment.database.rooms
    before = len(changes(proxy))
    rooms.update_one({"_id": big}, {"$set": {"members.500.role": "owner"}})
    deployment.wait_until_equal(zero_cache)
    (only,) = changes(proxy)[before:]
    assert only["members"] == ["insert"]
    assert "grants" not in only

    rooms.update_one({"_id": big}, {"$pull": {"members": {"user": "user-0999"}}})
    rooms.update_one({"_id": big}, {"$push": {"members": {"user": "new", "rights": []}}})
    rooms.update_one({"_id": big}, {"$pop": {"members.7.rights": 1}})
    rooms.update_one({"_id": big}, {"$push": {"members": {"$each": [{"user": "first"}], "$position": 0}}})
    deployment.wait_until_equal(zero_cache)
    with deployment.client.start_session() as session, session.start_transaction():
        rooms.update_one({"_id": big}, {"$unset": {"members": ""}}, session=session)
        rooms.insert_one(room("group", "in", "a", "transaction"), session=session)
    deployment.wait_until_equal(zero_cache)
    rooms.update_one({"_id": big}, {"$set": {"members": [{"user": f"again-{n}"} for n in range(100)]}})
    deployment.wait_until_equal(zero_cache)

    before = len(changes(proxy))
    rooms.delete_one({"_id": big})
    deployment.wait_until_equal(zero_cache)
    (only,) = changes(proxy)[before:]
    assert only["members"] == ["delete"] * 100


def change_keys(deployment: Deployment, zero_cache: Any) -> None:
    """A login is given up by one user and taken by another, twice, in one batch and in one transaction."""
    users = deployment.database.users
    users.update_one({"_id": 1}, {"$set": {"login": "ann-2"}})
    users.update_one({"_id": 2}, {"$set": {"login": "ann"}})
    users.update_one({"_id": 1}, {"$set": {"login": "ann-3"}})
    deployment.wait_until_equal(zero_cache)
    with deployment.client.start_session() as session, session.start_transaction():
        users.update_one({"_id": 2}, {"$set": {"login": "gone"}}, session=session)
        users.update_one({"_id": 1}, {"$set": {"login": "ann"}}, session=session)
        users.delete_one({"_id": 2}, session=session)
    deployment.wait_until_equal(zero_cache)
    users.insert_one({"_id": 2, "login": "gone"})
    users.delete_one({"_id": 1})
    deployment.wait_until_equal(zero_cache)


def test_a_missing_pre_image_reloads_the_table(deploy: Deploy) -> None:
    """Somebody switches pre-images off, then drops the collection: each time the tables that need them are loaded again
    within the stream, once, and the collection records them from then on."""
    deployment = deploy(SCHEMA, mappings=MAPPINGS)
    rooms = deployment.database.rooms
    rooms.insert_many([room("chat", f"user-{n}", "bob") for n in range(50)])
    server = deployment.start()
    proxy = deployment.proxy(server)
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)

    deployment.database.command({"collMod": "rooms", "changeStreamPreAndPostImages": {"enabled": False}})
    rooms.update_one({"members.user": "user-7"}, {"$pull": {"members": {"user": "bob"}}})
    deployment.wait_until_equal(zero_cache)
    rooms.delete_one({"members.user": "user-8"})
    deployment.wait_until_equal(zero_cache)
    reloads = server.log_path.read_text().count(RELOADED)
    rooms.drop()
    rooms.insert_many([room("chat", f"user-{n}", "bob") for n in range(9, 20)])
    deployment.wait_until_equal(zero_cache)
    rooms.delete_one({"members.user": "user-9"})
    deployment.wait_until_equal(zero_cache)
    rooms.delete_one({"members.user": "user-10"})
    contents = deployment.wait_until_equal(zero_cache)

    assert contents.replica_version == snapshot.replica_version
    log = server.log_path.read_text()
    assert reloads > 0
    assert log.count(RELOADED) == 2 * reloads, log
    assert log.count("pre-images of rooms switched on again") == 2
    check_protocol(proxy)
