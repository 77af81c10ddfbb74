"""checking.py: all checks of a source together."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from changesource.mongo.source import Database, Sources
from changesource.mongo.source_checks import checking
from changesource.mongo.source_checks.checking import check_database
from changesource.mongo.source_checks.results import CheckResult, PublishedCollection, worst_status
from tests.mongo.failing import fail_commands
from tests.mongo.impatience import do_not_wait
from tests.mongo.source_checks.conftest import DATABASE, PASSWORD, USERS, AsUser, uri_of
from zerosources.embedded.ports import free_port
from zerosources.embedded.servers import MongoServer

CITY = PublishedCollection("shop", "city", ["city"])


def statuses(results: Sequence[CheckResult]) -> dict[str, str]:
    """Returns the statuses by name, after making sure that no text shows a secret."""
    text = repr(results)
    for secret in (PASSWORD, "127.0.0.1", "mongodb://", *USERS):
        assert secret not in text
    return {result.name: result.status for result in results}


async def check_uri(uri: str) -> list[CheckResult]:
    sources = Sources({"default": uri})
    try:
        return await check_database(sources.database("default"), [CITY])
    finally:
        await sources.close()


async def test_a_server_without_faults_passes_every_check(database: Database) -> None:
    await database.create_collection("city")
    found = statuses(await check_database(database, [CITY]))
    assert {
        "server",
        "answer",
        "clock",
        "change stream",
        "majority reads",
        "images of shop: city",
        "oplog window",
    } < set(found)
    found.pop("oplog window")  # another test may have made it drop its first entry
    assert set(found.values()) == {"ok"}


async def test_a_user_who_may_only_read_gets_warnings(as_user: AsUser) -> None:
    """Streams work, and the oplog's window is unknown."""
    results = await check_database(as_user("reader"), [CITY])
    found = statuses(results)
    assert worst_status(results) == "warning"
    assert {name for name, status in found.items() if status == "warning"} == {
        "privilege insert on zero_sources_markers",
        "privilege update on zero_sources_markers",
    }
    assert {name for name, status in found.items() if status == "unknown"} == {"oplog window"}


async def test_the_documented_user_lacks_only_the_view_of_the_oplog(as_user: AsUser) -> None:
    """The user that docs/operations.md creates."""
    found = statuses(await check_database(as_user("streamer"), [CITY]))
    assert {name: status for name, status in found.items() if status != "ok"} == {"oplog window": "unknown"}


async def test_all_missing_rights_are_reported_at_once(as_user: AsUser) -> None:
    found = statuses(await check_database(as_user("nobody"), [CITY]))
    assert {name for name, status in found.items() if status == "error"} == {
        "privilege find",
        "privilege changeStream",
        "majority reads",
        "change stream",
    }


async def test_a_wrong_password_is_one_result(guarded_server: MongoServer) -> None:
    [result] = await check_uri(uri_of(guarded_server, "reader", "wrong"))
    assert statuses([result]) == {"server": "error"}
    assert "user or the password" in result.text


async def test_a_standalone_is_refused_with_the_remedy(run_dir: Path) -> None:
    with MongoServer(run_dir / "mongodb-checked-standalone", standalone=True) as server:
        [result] = await check_uri(server.uri(DATABASE))
    assert statuses([result]) == {"server": "error"}
    assert "rs.initiate()" in result.text


async def test_an_unreachable_server_is_one_result_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    do_not_wait(monkeypatch)
    [result] = await check_uri(f"mongodb://reader:{PASSWORD}@127.0.0.1:{free_port()}/shop")
    assert statuses([result]) == {"server": "error"}
    assert "CS103" in result.text


async def test_a_check_that_hangs_does_not_delay_the_others(
    mongo_server: MongoServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "CHECK_SECONDS", 1.0)
    await database.command("ping")
    async with (
        asyncio.timeout(10),
        fail_commands(mongo_server, "listCollections", blockConnection=True, blockTimeMS=3000),
    ):
        found = statuses(await check_database(database, [CITY]))
    assert (found["images"], found["privileges"]) == ("unknown", "unknown")
    assert (found["majority reads"], found["change stream"]) == ("ok", "ok")
