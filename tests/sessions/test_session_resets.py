"""session.py: what a zero-cache is told when its replica cannot go on."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from changesource.errors import HistoryLost
from changesource.limits.limits import Limits
from changesource.models import AccessVersion, AwaitedReplica, Version
from changesource.models import Replica as RegisteredReplica
from changesource.models.queries.replicas import newest_watermark_of_client
from changesource.models.queries.sources import start_over
from changesource.mongo.source import current_cluster_time
from changesource.operations.readiness import find_missing
from changesource.protocol import closing
from changesource.protocol.requests import Resume, StreamRequest
from changesource.protocol.watermarks import Position
from changesource.replication import source_identity
from changesource.sessions import session as session_module
from changesource.sessions import source_clock
from changesource.sessions.resume import ACCESS_WITHOUT_A_PLACE
from changesource.sessions.session import Session
from tests.faults.sessions import ChangeSource, Replica, ToldReplica
from tests.models.builders import set_grant

pytestmark = pytest.mark.django_db(transaction=True)

SOON_SECONDS = 20.0


@pytest.mark.parametrize("when", ["streaming", "away"])
async def test_the_reason_is_a_new_base_also_if_the_access_is_noticed_first(
    source: ChangeSource, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """An app that starts over, and what its clients may read with it, are looked at one after the other. Whichever is seen
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
    await start_over("shop", base.nonce, "a" * 32, "another database")
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
    monkeypatch.setattr(source_identity, "CLOCK_SECONDS", 0.1)


async def test_made_up_replicas_raise_no_alarm(source: ChangeSource, far_future: Position, quick: None) -> None:
    """Replicas that nobody registered make no alarm and no rows, and no snapshot waits for their watermarks."""
    version = Position(await current_cluster_time(source.database))
    for shard_num in range(5):
        assert "not built from a snapshot" in await told(source, version, far_future, shard_num)
    assert not await AwaitedReplica.objects.aexists()
    assert "replicas shop" not in await find_missing(source.service)
    async with asyncio.timeout(10):
        assert await source.take_snapshot(Replica()) == closing.snapshot_sent()


async def test_a_made_up_watermark_concerns_only_its_replica(
    source: ChangeSource, far_future: Position, quick: None
) -> None:
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
async def test_lost_history_is_a_fault_only_if_the_replica_is_where_it_was(
    source: ChangeSource, quick: None, monkeypatch: pytest.MonkeyPatch, claim: str
) -> None:
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
async def test_a_snapshot_that_waits_for_the_clock_holds_no_slot(
    source: ChangeSource, far_future: Position, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot that waits for the clock of the source holds no turn meanwhile."""
    monkeypatch.setattr(source_clock, "CLOCK_BEHIND_SECONDS", SOON_SECONDS)
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


# What a client may read


def store_access(source: ChangeSource, number: int, cluster_time: int) -> None:
    """Another access of the client, as the grant then says it, is in force from this cluster time on."""
    with transaction.atomic():
        grant = set_grant(source.client, all_tables=False, tables=["city"])
        AccessVersion.objects.create(
            client=source.client, app=source.app, number=number, access=grant.access(), cluster_time=cluster_time
        )


async def test_a_replica_of_other_attributes_may_not_resume(source: ChangeSource, quick: None) -> None:
    """What the token says of the client decides which rows it has: with another token, a replica has others."""
    replica = ToldReplica()
    await source.take_snapshot(replica)
    session = source.session(replica)
    identity = replace(session.identity, attributes=(("tenant", "a"),))
    replica.connect(Session(source.service, session._request, identity, replica, lambda how: None))
    async with asyncio.timeout(SOON_SECONDS):
        assert await replica.session.run() is None
    assert "other attributes" in replica.told.result()["message"]


async def test_a_replica_of_another_access_than_was_in_force_may_not_resume(source: ChangeSource, quick: None) -> None:
    """A replica that began under one access, where another is known to have been in force, may have been shown anything."""
    replica = Replica()
    await source.take_snapshot(replica)
    version = replica.replica_version
    assert version is not None
    await sync_to_async(store_access)(source, 2, version.cluster_time - 1)
    assert await told(source, version, version) == ACCESS_WITHOUT_A_PLACE.reason


async def test_a_replica_of_an_access_that_is_no_longer_kept_may_not_resume(source: ChangeSource, quick: None) -> None:
    """The replica is told so. Its connection is not closed as if the source were away."""
    replica = Replica()
    await source.take_snapshot(replica)
    version = replica.replica_version
    assert version is not None
    now = Position(await current_cluster_time(source.database))
    await sync_to_async(store_access)(source, 2, now.cluster_time)
    await AccessVersion.objects.filter(number=1).adelete()
    assert await told(source, version, version) == ACCESS_WITHOUT_A_PLACE.reason


async def test_a_stream_ends_past_the_place_of_an_access_whose_marker_never_came(
    source: ChangeSource, quick: None
) -> None:
    """A stream that has come past the place of an access, and met no marker there, ends: it would show what was before."""
    replica = ToldReplica()
    await source.take_snapshot(replica)
    replica.connect(source.session(replica))
    stream = asyncio.create_task(replica.session.run())
    await source.database.city.insert_one({"_id": 2})
    await replica.until(lambda: replica.rows_taken == 2)
    await sync_to_async(store_access)(source, 2, await current_cluster_time(source.database))
    told = await asyncio.wait_for(replica.told, SOON_SECONDS)
    assert told["message"] == ACCESS_WITHOUT_A_PLACE.reason
    assert await stream is None
