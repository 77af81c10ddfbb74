"""server.py: the kind of server, its clock, and its change stream."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from changesource.errors import SourceUnusable
from changesource.mongo.source import Database, SourceReport
from changesource.mongo.source_checks.results import PublishedCollection
from changesource.mongo.source_checks.server import (
    check_answer_and_clock,
    check_change_stream,
    check_majority_read,
    describe_server,
)
from tests.mongo.failing import fail_commands
from tests.mongo.source_checks.conftest import AsUser
from tests.mongo.source_checks.scripted import REPLICA_SET, ScriptedDatabase
from zerosources.embedded.servers import MongoServer


@pytest.mark.parametrize(("version", "status"), [((6, 0, 8), "warning"), ((6, 0, 9), "ok"), ((8, 0, 1), "ok")])
def test_a_version_that_cannot_split_large_events_is_a_warning(version: tuple[int, ...], status: str) -> None:
    result = describe_server(SourceReport(version, "replica set rs0"))
    assert (result.status, result.values["version"]) == (status, ".".join(map(str, version)))


def clock_of(difference: timedelta) -> Any:
    """Returns the result for a server whose clock differs by so much."""
    return ScriptedDatabase({"hello": lambda: {"localTime": (datetime.now(UTC) + difference).replace(tzinfo=None)}})


@pytest.mark.parametrize(
    ("seconds", "status", "word"),
    [(0, "ok", "differ by"), (4, "ok", "differ by"), (30, "warning", "ahead of"), (-30, "warning", "behind")],
)
async def test_a_clock_that_is_off_is_a_warning_with_the_direction(seconds: float, status: str, word: str) -> None:
    _, clock = await check_answer_and_clock(clock_of(timedelta(seconds=seconds)))
    assert clock.status == status
    assert clock.values["seconds"] == pytest.approx(seconds, abs=1)
    assert word in clock.text


async def test_an_unreported_clock_is_unknown() -> None:
    hello: Mapping[str, Any] = {}
    _, clock = await check_answer_and_clock(ScriptedDatabase({"hello": hello}))  # type: ignore[arg-type]
    assert clock.status == "unknown"


async def test_a_server_on_this_machine_answers_at_once_and_has_its_clock(database: Database) -> None:
    answer, clock = await check_answer_and_clock(database)
    assert (answer.status, clock.status) == ("ok", "ok")
    assert 0 < float(answer.values["milliseconds"]) < 500


async def test_a_slow_answer_is_a_warning_and_does_not_count_as_a_wrong_clock(
    mongo_server: MongoServer, database: Database
) -> None:
    await database.command("ping")
    async with fail_commands(mongo_server, "hello", blockConnection=True, blockTimeMS=700):
        answer, clock = await check_answer_and_clock(database)
    assert (answer.status, clock.status) == ("warning", "ok")


async def test_the_change_stream_of_what_is_published_opens(database: Database) -> None:
    """Even before there are collections."""
    collections = [PublishedCollection("shop", "city", ["city"], unwinding=["city"])]
    [result] = await check_change_stream(database, REPLICA_SET, collections)
    assert result.status == "ok"


async def test_a_refused_change_stream_raises_the_error_of_streaming(as_user: AsUser) -> None:
    with pytest.raises(SourceUnusable, match="Unauthorized 13"):
        await check_change_stream(as_user("nobody"), REPLICA_SET, [])


async def test_majority_reads_are_checked(database: Database, as_user: AsUser) -> None:
    """A failure raises the error that a snapshot would raise."""
    [result] = await check_majority_read(database)
    assert result.status == "ok"
    with pytest.raises(SourceUnusable):
        await check_majority_read(as_user("nobody"))
