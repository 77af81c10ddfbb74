"""server.py: the kind of server, its clock, its change stream."""

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
def test_large_events(version: tuple[int, ...], status: str) -> None:
    """A version that cannot split large events is usable, with a warning."""
    result = describe_server(SourceReport(version, "replica set rs0"))
    assert (result.status, result.values["version"]) == (status, ".".join(map(str, version)))


def clock_of(difference: timedelta) -> Any:
    """A server whose clock differs by so much."""
    return ScriptedDatabase({"hello": lambda: {"localTime": (datetime.now(UTC) + difference).replace(tzinfo=None)}})


@pytest.mark.parametrize(
    ("seconds", "status", "word"),
    [(0, "ok", "differ by"), (4, "ok", "differ by"), (30, "warning", "ahead of"), (-30, "warning", "behind")],
)
async def test_clock(seconds: float, status: str, word: str) -> None:
    """A clock that is off by more than some seconds is a warning, with the direction."""
    _, clock = await check_answer_and_clock(clock_of(timedelta(seconds=seconds)))
    assert clock.status == status
    assert clock.values["seconds"] == pytest.approx(seconds, abs=1)
    assert word in clock.text


async def test_server_without_a_clock() -> None:
    """What is not said is unknown."""
    hello: Mapping[str, Any] = {}
    _, clock = await check_answer_and_clock(ScriptedDatabase({"hello": hello}))  # type: ignore[arg-type]
    assert clock.status == "unknown"


async def test_answer(database: Database) -> None:
    """A server on this machine answers at once and has its clock."""
    answer, clock = await check_answer_and_clock(database)
    assert (answer.status, clock.status) == ("ok", "ok")
    assert 0 < float(answer.values["milliseconds"]) < 500


async def test_slow_answer(mongo_server: MongoServer, database: Database) -> None:
    """A server far away is a warning; how long its answer took is not taken for a wrong clock."""
    await database.command("ping")
    async with fail_commands(mongo_server, "hello", blockConnection=True, blockTimeMS=700):
        answer, clock = await check_answer_and_clock(database)
    assert (answer.status, clock.status) == ("warning", "ok")


async def test_change_stream(database: Database) -> None:
    """It opens with what is published, also before there is any collection."""
    collections = [PublishedCollection("shop", "city", ["city"], unwinding=["city"])]
    [result] = await check_change_stream(database, REPLICA_SET, collections)
    assert result.status == "ok"


async def test_change_stream_that_is_refused(as_user: AsUser) -> None:
    """A user without the right gets the error that streaming would get."""
    with pytest.raises(SourceUnusable, match="Unauthorized 13"):
        await check_change_stream(as_user("nobody"), REPLICA_SET, [])


async def test_majority_reads(database: Database, as_user: AsUser) -> None:
    """They work, or fail as snapshots would."""
    [result] = await check_majority_read(database)
    assert result.status == "ok"
    with pytest.raises(SourceUnusable):
        await check_majority_read(as_user("nobody"))
