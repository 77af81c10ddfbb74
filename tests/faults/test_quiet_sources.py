"""Where nothing that is published is written, every replica's position advances all the same: else its resume point would
fall out of the oplog."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from changesource.errors import SourceReadOnly
from changesource.models import App
from changesource.mongo import change_stream
from changesource.mongo.source import current_cluster_time
from changesource.replication import entry_reader, feed, watcher
from changesource.sessions import barrier
from tests.faults.sessions import ChangeSource, Replica, change_source
from tests.models.builders import build_app
from zerosources.embedded.servers import MongoServer, ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)

QUIET_COMMIT_SECONDS = 0.3
HEARTBEAT_SECONDS = 0.1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_stream, "AWAIT_MS", 50)
    monkeypatch.setattr(feed, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(entry_reader, "QUIET_SECONDS", 0.2)


@pytest.fixture
def uri(mongo_server: MongoServer, settings: Any) -> str:
    settings.CHANGESOURCE_SOURCES = {"default": mongo_server.uri(f"quiet_{uuid.uuid4().hex[:12]}")}
    return str(settings.CHANGESOURCE_SOURCES["default"])


@pytest.fixture
def app(uri: str) -> App:
    return build_app()


@pytest.fixture
async def source(uri: str, app: App) -> AsyncIterator[ChangeSource]:
    """One that may be written to."""
    async with change_source(
        uri, app, heartbeat_seconds=HEARTBEAT_SECONDS, quiet_commit_seconds=QUIET_COMMIT_SECONDS
    ) as source:
        await source.database.city.insert_one({"_id": 1, "name": "Bern"})
        yield source


@pytest.fixture
async def silent_source(uri: str, app: App, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChangeSource]:
    """One that may only be read: neither heartbeats nor barriers."""

    async def refuse(*args: object) -> str:
        raise SourceReadOnly("The user of the URI may not do this.")

    for module in (watcher, barrier):
        monkeypatch.setattr(module, "write_marker", refuse)
    async with change_source(uri, app, quiet_commit_seconds=QUIET_COMMIT_SECONDS) as source:
        await source.database.city.insert_one({"_id": 1, "name": "Bern"})
        yield source


async def passes_what_nobody_publishes(source: ChangeSource, *replicas: Replica) -> None:
    """Twice, so that it goes on."""
    for number in range(2):
        await source.database.unpublished.insert_many([{"n": number} for _ in range(20)])
        written = await current_cluster_time(source.database)
        for replica in replicas:
            await replica.until(lambda replica=replica, written=written: has_passed(replica, written))


def has_passed(replica: Replica, cluster_time: int) -> bool:
    return replica.watermark is not None and replica.watermark.cluster_time >= cluster_time


async def test_position_advances(source: ChangeSource) -> None:
    """By empty transactions, of the replicas of two shards, which afterwards take a change as before."""
    replicas = [Replica(), Replica()]
    async with AsyncExitStack() as stack:
        for shard_num, replica in enumerate(replicas):
            await source.take_snapshot(replica, shard_num)
            await stack.enter_async_context(source.streaming(replica, shard_num))
        await passes_what_nobody_publishes(source, *replicas)
        assert all(replica.empty_commits >= 2 for replica in replicas)
        await source.database.city.insert_one({"_id": 2, "name": "Thun"})
        for replica in replicas:
            await replica.until_equal(source)


async def test_source_that_may_only_be_read(silent_source: ChangeSource) -> None:
    """The position advances by the source's clock, and what is written afterwards is not taken for older than it."""
    replica = Replica()
    await silent_source.take_snapshot(replica)
    async with silent_source.streaming(replica):
        await passes_what_nobody_publishes(silent_source, replica)
        await silent_source.database.city.insert_one({"_id": 2, "name": "Thun"})
        await replica.until_equal(silent_source)
    await silent_source.database.city.insert_one({"_id": 3, "name": "Biel"})
    async with silent_source.streaming(replica):
        await replica.until_equal(silent_source)


async def test_client_that_sees_nothing(uri: str, app: App) -> None:
    """Changes that row filters hide are nothing to send, but the position of their replica passes them."""
    await sync_to_async(app.tables.update)(filter_columns=["name"])
    filters = json.dumps({"city": {"name": "nowhere"}})
    async with change_source(
        uri, app, filters, heartbeat_seconds=0, quiet_commit_seconds=QUIET_COMMIT_SECONDS
    ) as source:
        replica = Replica()
        await source.take_snapshot(replica)
        async with source.streaming(replica):
            for number in range(3):
                await source.database.city.insert_one({"_id": number, "name": "Thun"})
                written = await current_cluster_time(source.database)
                await replica.until(lambda written=written: has_passed(replica, written))
        assert replica.published == {"city": {}}
        assert replica.empty_commits >= 3


async def test_redis_away(run_dir: Path, uri: str, app: App, settings: Any) -> None:
    """A session that reads MongoDB itself advances as well, where nobody leads and so nobody writes heartbeats."""
    with ValkeyServer(run_dir / "valkey-of-a-quiet-source") as valkey:
        settings.CHANNEL_LAYERS = channel_layers(valkey)
        async with change_source(
            uri,
            app,
            redis_url=valkey.url,
            heartbeat_seconds=HEARTBEAT_SECONDS,
            quiet_commit_seconds=QUIET_COMMIT_SECONDS,
        ) as source:
            replica = Replica()
            await source.take_snapshot(replica)
            async with source.streaming(replica):
                await passes_what_nobody_publishes(source, replica)
                valkey.stop()
                await passes_what_nobody_publishes(source, replica)


def channel_layers(valkey: ValkeyServer) -> dict[str, Any]:
    backend = "channels_redis.pubsub.RedisPubSubChannelLayer"
    return {"default": {"BACKEND": backend, "CONFIG": {"hosts": [{"address": valkey.url, "socket_timeout": None}]}}}


async def test_replica_that_is_current(source: ChangeSource) -> None:
    """Nothing is sent to advance a replica that real commits advance."""
    replica = Replica()
    await source.take_snapshot(replica)
    async with source.streaming(replica):
        for number in range(40):
            await source.database.city.insert_one({"_id": f"busy-{number}", "name": "Thun"})
            await asyncio.sleep(QUIET_COMMIT_SECONDS / 6)
        await replica.until_equal(source)
        assert replica.empty_commits == 0


async def test_nothing_to_pass(silent_source: ChangeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one of a source in which nothing at all has happened since."""
    replica = Replica()
    await silent_source.take_snapshot(replica)
    assert replica.watermark is not None
    reached = max(replica.watermark.cluster_time, await current_cluster_time(silent_source.database))
    asked = 0

    async def majority_cluster_time(database: object) -> int:
        nonlocal asked
        asked += 1
        return reached

    monkeypatch.setattr(entry_reader, "majority_cluster_time", majority_cluster_time)
    async with silent_source.streaming(replica):
        await replica.until(lambda: has_passed(replica, reached))
        commits, asked_before = replica.empty_commits, asked
        while asked < asked_before + 5:  # each 0.2 seconds and more
            await asyncio.sleep(0.05)
        assert replica.empty_commits == commits
