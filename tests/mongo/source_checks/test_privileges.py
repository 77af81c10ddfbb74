"""privileges.py: which privileges the user has, as listed by the server or found by trying."""

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
    """Returns the names of privileges that are held, after making sure that each other one has a
    remedy."""
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
async def test_privileges_are_tried_if_the_server_does_not_list_them(
    as_user: AsUser, user: str, expected: set[str]
) -> None:
    database = as_user(user)
    assert held(await check_privileges(database, await inspect_source(database))) == expected


async def test_without_access_control_every_privilege_is_held(database: Database) -> None:
    assert held(await check_privileges(database, REPLICA_SET)) == ALL


async def test_trials_leave_nothing_behind(database: Database) -> None:
    """Neither in a collection nor in a change stream."""
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
    """Returns a server that lists these privileges, and on which nothing may be tried."""
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
async def test_a_listed_privilege_counts_if_it_covers_the_collection(
    privileges: list[dict[str, Any]], expected: set[str]
) -> None:
    assert held(await check_privileges(listing(*privileges), REPLICA_SET)) == expected


async def test_only_necessary_privileges_are_errors() -> None:
    """Reading is necessary. Writing markers is on a sharded cluster, and switching pre-images on is
    not."""
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
def test_names_in_shown_commands_are_quoted(need: Any) -> None:
    """A database with an odd name does not break out of the command."""
    assert '"sh\\"op"' in granting_command('sh"op', need)
