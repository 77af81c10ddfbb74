"""privileges.py: what the user may do, by what the server lists and by trying."""

from typing import Any

import pytest

from changesource.mongo.source import Database, inspect_source
from changesource.mongo.source_checks.privileges import check_privileges, granting_command, needs
from changesource.mongo.source_checks.results import CheckResult
from tests.mongo.source_checks.conftest import AsUser
from tests.mongo.source_checks.scripted import REPLICA_SET, SHARDED, ScriptedDatabase

READING = {"find", "changeStream", "listCollections", "collStats"}
MARKING = {"insert on zero_sources_markers", "update on zero_sources_markers"}
ALL = READING | MARKING | {"collMod"}


def held(results: list[CheckResult]) -> set[str]:
    """The names of privileges that are held, after a look at the others: each says what to do."""
    assert {result.name.removeprefix("privilege ") for result in results} == ALL
    for result in results:
        assert result.text.startswith("Held. " if result.values["is_held"] else "Not held. ")
        assert bool(result.remedy) is not result.values["is_held"]
    return {result.name.removeprefix("privilege ") for result in results if result.values["is_held"]}


# By trying


@pytest.mark.parametrize(
    ("user", "expected"),
    [("reader", READING), ("streamer", READING | MARKING), ("writer", ALL), ("nobody", set())],
)
async def test_privileges_that_are_tried(as_user: AsUser, user: str, expected: set[str]) -> None:
    """A server that lists no privileges is asked by trying each."""
    database = as_user(user)
    assert held(await check_privileges(database, await inspect_source(database))) == expected


async def test_server_that_asks_nobody(database: Database) -> None:
    """Without authentication everything is allowed."""
    assert held(await check_privileges(database, REPLICA_SET)) == ALL


async def test_nothing_is_left_behind(database: Database) -> None:
    """What was tried is in no collection and in no change stream."""
    async with await database.watch(max_await_time_ms=100, show_expanded_events=True) as stream:
        await check_privileges(database, REPLICA_SET)
        assert await database.zero_sources_markers.find_one() is None
        await database.city.insert_one({"_id": 1})
        event = await anext(stream)
        while event["operationType"] == "create":
            assert event["ns"]["coll"] == "city"
            event = await anext(stream)
        assert event["ns"]["coll"] == "city"


# By what the server lists


def listing(*privileges: dict[str, Any]) -> Any:
    """A server that lists these privileges, and nothing may be tried on."""
    status = {
        "authInfo": {"authenticatedUsers": [{"user": "u", "db": "shop"}], "authenticatedUserPrivileges": privileges}
    }
    return ScriptedDatabase({"connectionStatus": status})


def privilege(db: str, collection: str, *actions: str) -> dict[str, Any]:
    return {"resource": {"db": db, "collection": collection}, "actions": list(actions)}


READ = ("changeStream", "collStats", "dbHash", "dbStats", "find", "killCursors", "listCollections", "listIndexes")
"""The actions of MongoDB's role `read`."""
WRITE = (*READ, "collMod", "createCollection", "insert", "remove", "update")
MARKERS = "zero_sources_markers"


@pytest.mark.parametrize(
    ("privileges", "expected"),
    [
        ([privilege("shop", "", *READ)], READING),
        ([privilege("shop", "", *READ), privilege("shop", MARKERS, "find", "insert", "update")], READING | MARKING),
        ([privilege("shop", "", *WRITE)], ALL),
        ([privilege("", "", *WRITE)], ALL),
        ([{"resource": {"anyResource": True}, "actions": ["anyAction"]}], ALL),
        ([privilege("blog", "", *WRITE)], set()),
        ([privilege("shop", "city", *READ)], set()),
        ([privilege("shop", MARKERS, "insert"), privilege("", MARKERS, "update")], MARKING),
        ([{"resource": {"cluster": True}, "actions": list(WRITE)}], set()),
        ([{"resource": {"db": "shop", "system_buckets": "x"}, "actions": list(WRITE)}], set()),
    ],
    ids=[
        "read",
        "read and markers",
        "readWrite",
        "any database",
        "root",
        "other",
        "collection",
        "parts",
        "cluster",
        "buckets",
    ],
)
async def test_privileges_that_are_listed(privileges: list[dict[str, Any]], expected: set[str]) -> None:
    """What covers the database or the collection counts, and nothing else does."""
    assert held(await check_privileges(listing(*privileges), REPLICA_SET)) == expected


async def test_how_bad_it_is_to_lack_one() -> None:
    """Reading is necessary, writing markers is on a sharded cluster, switching pre-images on is not."""
    nothing = listing(privilege("blog", "", *WRITE))
    statuses = {result.name.split()[1]: result.status for result in await check_privileges(nothing, REPLICA_SET)}
    assert statuses == {
        "find": "error",
        "changeStream": "error",
        "insert": "warning",
        "update": "warning",
        "listCollections": "warning",
        "collStats": "warning",
        "collMod": "ok",
    }
    sharded = {result.name.split()[1]: result.status for result in await check_privileges(nothing, SHARDED)}
    assert (sharded["insert"], sharded["update"]) == ("error", "error")


@pytest.mark.parametrize("need", needs(REPLICA_SET), ids=lambda need: need.action)
def test_commands_are_quoted(need: Any) -> None:
    """A database with an odd name does not break out of the command that is shown."""
    assert '"sh\\"op"' in granting_command('sh"op', need)
