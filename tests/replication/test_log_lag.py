"""readiness.py: a log that falls behind its source is said, and nothing else is taken for that."""

from types import SimpleNamespace
from typing import Any

import pytest

from changesource.conf import ChangeSourceSettings
from changesource.errors import LogUnavailable, SourceUnreachable
from changesource.log.entries import Entry, EntryId, Extent
from changesource.log.memory import MemoryLog
from changesource.mongo.markers import write_marker
from changesource.mongo.source import SHARDED_CLUSTER, Database, SourceReport, current_cluster_time
from changesource.operations import readiness
from changesource.operations.readiness import MAX_LAG_SECONDS, check_lag
from changesource.protocol.watermarks import Position
from tests.simulation.builders import APP_ID
from tests.simulation.following import Watching

BEHIND_SECONDS = 94
PUBLICATION: Any = SimpleNamespace(app_id=APP_ID, definition=SimpleNamespace(source="default"))


def service(database: Database, log: MemoryLog, heartbeat_seconds: float = 10.0) -> Any:
    """As much of one as the check uses."""
    return SimpleNamespace(
        settings=ChangeSourceSettings(heartbeat_seconds=heartbeat_seconds),
        sources=SimpleNamespace(database=lambda name: database),
        log_of=lambda published: log,
    )


async def log_until(position: Position) -> MemoryLog:
    log = MemoryLog()
    await log.append(Entry(EntryId(position), 0, is_start=True), None)
    return log


async def now(database: Database) -> int:
    """The source's clock."""
    return await current_cluster_time(database)


def earlier(cluster_time: int, seconds: int) -> Position:
    return Position(cluster_time - (seconds << 32))


async def test_a_log_that_is_behind(database: Database) -> None:
    """The reason says by how much; it goes when a watcher has caught up."""
    log = await log_until(earlier(await now(database), BEHIND_SECONDS))
    reason = await check_lag(service(database, log), PUBLICATION)
    assert reason.startswith("its log is ")
    assert BEHIND_SECONDS - 1 <= int(reason.split()[3]) <= BEHIND_SECONDS + 5
    async with Watching(database, log):
        while await check_lag(service(database, log), PUBLICATION):
            await log.wait(log.generation, 1)


@pytest.mark.parametrize("seconds", [0, 35])
async def test_a_log_of_a_quiet_source(database: Database, seconds: int) -> None:
    """The clock is followed every half a minute at least, so that much is no fault."""
    log = await log_until(earlier(await now(database), seconds))
    assert await check_lag(service(database, log), PUBLICATION) == ""


async def test_a_log_that_has_not_begun(database: Database) -> None:
    """After the start, after Redis was emptied, after a publish that begins anew: there is nothing to be behind."""
    assert await check_lag(service(database, MemoryLog()), PUBLICATION) == ""


async def test_the_clock_of_this_machine_does_not_matter(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source whose clock is a day ahead, or behind, is compared with itself."""
    log = await log_until(Position(await now(database)))
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert await check_lag(service(database, log), PUBLICATION) == ""


async def test_what_does_not_answer_is_said_by_others(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of the source and of the app name it."""
    log = await log_until(Position(1 << 32))

    async def no_log() -> Extent:
        raise LogUnavailable

    async def no_source(database: Database) -> int:
        raise SourceUnreachable

    monkeypatch.setattr(readiness, "majority_cluster_time", no_source)
    assert await check_lag(service(database, log), PUBLICATION) == ""
    monkeypatch.undo()
    assert await check_lag(service(database, log), PUBLICATION) != ""
    monkeypatch.setattr(log, "extent", no_log)
    assert await check_lag(service(database, log), PUBLICATION) == ""


class TestShardedCluster:
    """Whose clock is not followed: positions age without heartbeats."""

    @pytest.fixture
    def sharded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def inspect(database: Database) -> SourceReport:
            return SourceReport((8, 0, 0), SHARDED_CLUSTER)

        monkeypatch.setattr(readiness, "inspect_source", inspect)

    @pytest.mark.usefixtures("sharded")
    @pytest.mark.parametrize(
        ("heartbeat_seconds", "has_written", "is_behind"),
        [(10.0, True, True), (0.0, True, False), (10.0, False, False), (MAX_LAG_SECONDS, True, False)],
        ids=["heartbeats", "switched off", "may not write", "seldom"],
    )
    async def test_heartbeats(
        self, database: Database, heartbeat_seconds: float, has_written: bool, is_behind: bool
    ) -> None:
        """It is behind only if heartbeats are written, and more often than it is behind."""
        if has_written:
            await write_marker(database, APP_ID, "heartbeat")
        log = await log_until(earlier(await now(database), BEHIND_SECONDS))
        assert bool(await check_lag(service(database, log, heartbeat_seconds), PUBLICATION)) == is_behind
