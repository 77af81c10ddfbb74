"""session.py: what a zero-cache is told when its replica cannot go on."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from changesource.errors import HistoryLost
from changesource.limits.limits import Limits
from changesource.models import AwaitedReplica, Version
from changesource.models import Replica as RegisteredReplica
from changesource.models.source_store import begin_anew, newest_watermark_of_client
from changesource.mongo.source import current_cluster_time
from changesource.protocol import closing
from changesource.protocol.requests import Resume, StreamRequest
from changesource.protocol.watermarks import Position
from changesource.streaming import session as session_module
from changesource.streaming import source_witness
from changesource.streaming.readiness import find_missing
from changesource.streaming.session import Session
from tests.faults.sessions import ChangeSource, Replica, ToldReplica

pytestmark = pytest.mark.django_db(transaction=True)

SOON_SECONDS = 20.0


@pytest.mark.parametrize("when", ["streaming", "away"])
async def test_access_is_known_first(source: ChangeSource, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """An app that begins anew, and what its clients may read with it, are looked at one after the other. Whichever is seen
    first, the reason is the app's, and who looks after it is alarmed."""
    monkeypatch.setattr(closing, "RESET_DELAY_SECONDS", 0)
    replica = ToldReplica()
    await source.take_snapshot(replica)
    replica.connect(source.session(replica))
    stream = asyncio.create_task(replica.session.run()) if when == "streaming" else None

    async def see_nothing() -> None:
        return None

    monkeypatch.setattr(source.service, "_refresh", see_nothing)
    base = await sync_to_async(Version.objects.get)()
    await begin_anew("shop", base.nonce, "a" * 32, "another database")
    stream = stream or asyncio.create_task(replica.session.run())
    told = await asyncio.wait_for(replica.told, SOON_SECONDS)
    assert await stream is None

    assert told["tag"] == "reset-required"
    assert "another database" in told["message"]
    assert await sync_to_async(AwaitedReplica.objects.alarming().exists)()


# What a client makes up


def session_of(
    source: ChangeSource, replica: Replica, version: Position, last: Position, shard_num: int = 0
) -> Session:
    """A connection that says that it is a replica of this version, at `last`."""
    session = source.session(replica)
    request = StreamRequest(source.app.app_id, shard_num, (), Resume(last, version))
    return Session(source.service, request, session.identity, replica, lambda how: None)


async def told(source: ChangeSource, version: Position, last: Position, shard_num: int = 0) -> str:
    """The reason that such a connection is given."""
    replica = ToldReplica()
    replica.connect(session_of(source, replica, version, last, shard_num))
    async with asyncio.timeout(SOON_SECONDS):
        assert await replica.session.run() is None
    return str(replica.told.result()["message"])


@pytest.fixture
def far_future() -> Position:
    return Position((int(time.time()) + 10**6) << 32)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "RESET_DELAY_SECONDS", 0)
    monkeypatch.setattr(source_witness, "CLOCK_SECONDS", 0.1)


async def test_made_up_replicas(source: ChangeSource, far_future: Position, quick: None) -> None:
    """Replicas that nobody registered make no alarm and no rows, and no snapshot waits for their watermarks."""
    version = Position(await current_cluster_time(source.database))
    for shard_num in range(5):
        assert "not built from a snapshot" in await told(source, version, far_future, shard_num)
    assert not await AwaitedReplica.objects.aexists()
    assert await find_missing(source.service) == {}
    async with asyncio.timeout(10):
        assert await source.take_snapshot(Replica()) == closing.snapshot_sent()


async def test_made_up_watermark(source: ChangeSource, far_future: Position, quick: None) -> None:
    """A registered replica whose watermark the source has not reached is told so. That is its own word: no alarm comes of it,
    and the next snapshot does not wait for it."""
    replica = Replica()
    await source.take_snapshot(replica)
    assert replica.replica_version is not None
    assert "ahead of the source" in await told(source, replica.replica_version, far_future)
    assert await find_missing(source.service) == {}
    newest = await newest_watermark_of_client("shop", source.client.pk, 0)
    assert newest < far_future.watermark
    async with asyncio.timeout(10):
        assert await source.take_snapshot(Replica()) == closing.snapshot_sent()


@pytest.mark.parametrize("claim", ["as it was", "older"])
async def test_lost_history(source: ChangeSource, quick: None, monkeypatch: pytest.MonkeyPatch, claim: str) -> None:
    """It is a fault if what follows the newest that the replica is known to have is lost, and not if somebody asks for what
    came before that."""
    replica = Replica()
    await source.take_snapshot(replica)
    version = replica.replica_version
    assert version is not None
    last = Position(await current_cluster_time(source.database))
    await sync_to_async(RegisteredReplica.objects.update)(acknowledged=last.watermark)

    async def lose(*arguments: Any) -> bool:
        raise HistoryLost("It is gone.")

    monkeypatch.setattr(session_module, "reaches", lose)
    assert "It is gone" in await told(source, version, last if claim == "as it was" else version)
    missing = await find_missing(source.service)
    assert list(missing) == (["replicas shop"] if claim == "as it was" else [])


@pytest.mark.usefixtures("any_source")
async def test_turn_of_a_snapshot_that_waits_for_the_clock(
    source: ChangeSource, far_future: Position, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that waits for the clock of the source holds no turn meanwhile."""
    monkeypatch.setattr(session_module, "CLOCK_BEHIND_SECONDS", SOON_SECONDS)
    waiting, other = Replica(), Replica()
    await source.take_snapshot(other)
    await sync_to_async(RegisteredReplica.objects.update)(acknowledged=far_future.watermark)
    source.service.limits = Limits(replace(source.service.settings, snapshots_per_app=1))
    waiting.connect(source.session(waiting))
    task = asyncio.create_task(waiting.session.run())
    async with asyncio.timeout(10):
        assert await source.take_snapshot(Replica(), shard_num=1) == closing.snapshot_sent()
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
