"""readiness.py: a log that falls behind its source is reported, and nothing else is taken for
that."""

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
PUBLISHED: Any = SimpleNamespace(app_id=APP_ID, definition=SimpleNamespace(source="default"))


def service(database: Database, log: MemoryLog, heartbeat_seconds: float = 10.0) -> Any:
    """Returns as much of a service as the check uses."""
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
    """Returns the source's clock."""
    return await current_cluster_time(database)


def earlier(cluster_time: int, seconds: int) -> Position:
    return Position(cluster_time - (seconds << 32))


async def test_a_log_that_is_behind_is_reported(database: Database) -> None:
    """The reason says by how much. It disappears when a watcher has caught up."""
    log = await log_until(earlier(await now(database), BEHIND_SECONDS))
    reason = await check_lag(service(database, log), PUBLISHED)
    assert reason.startswith("its log is ")
    assert BEHIND_SECONDS - 1 <= int(reason.split()[3]) <= BEHIND_SECONDS + 5
    async with Watching(database, log):
        while await check_lag(service(database, log), PUBLISHED):
            await log.wait(log.generation, 1)


@pytest.mark.parametrize("seconds", [0, 35])
async def test_the_log_of_a_quiet_source_is_not_behind(database: Database, seconds: int) -> None:
    """It follows the clock every half a minute at least."""
    log = await log_until(earlier(await now(database), seconds))
    assert await check_lag(service(database, log), PUBLISHED) == ""


async def test_a_log_that_has_not_begun_is_not_behind(database: Database) -> None:
    """After the start, after Redis was emptied, and after a publish that starts over."""
    assert await check_lag(service(database, MemoryLog()), PUBLISHED) == ""


async def test_the_clock_of_this_machine_does_not_matter(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source whose clock is a day ahead or behind is compared with itself."""
    log = await log_until(Position(await now(database)))
    monkeypatch.setattr("time.time", lambda: 1e9)
    assert await check_lag(service(database, log), PUBLISHED) == ""


async def test_an_unreachable_source_or_log_is_not_behind(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other checks report it."""
    log = await log_until(Position(1 << 32))

    async def no_log() -> Extent:
        raise LogUnavailable

    async def no_source(database: Database) -> int:
        raise SourceUnreachable

    monkeypatch.setattr(readiness, "majority_cluster_time", no_source)
    assert await check_lag(service(database, log), PUBLISHED) == ""
    monkeypatch.undo()
    assert await check_lag(service(database, log), PUBLISHED) != ""
    monkeypatch.setattr(log, "extent", no_log)
    assert await check_lag(service(database, log), PUBLISHED) == ""


class TestShardedCluster:
    """A sharded cluster's clock is not followed, so positions age without heartbeats."""

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
    async def test_it_is_behind_only_with_heartbeats(
        self, database: Database, heartbeat_seconds: float, has_written: bool, is_behind: bool
    ) -> None:
        """And only by more than the time between two of them."""
        if has_written:
            await write_marker(database, APP_ID, "heartbeat")
        log = await log_until(earlier(await now(database), BEHIND_SECONDS))
        assert bool(await check_lag(service(database, log, heartbeat_seconds), PUBLISHED)) == is_behind
