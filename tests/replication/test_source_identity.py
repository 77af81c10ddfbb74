"""source_identity.py: whether a source is still the same database. Each source is a database of the
embedded server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from changesource.errors import SourceInDoubt, SourceReplaced
from changesource.log.memory import MemoryLog
from changesource.models import App, Client, Version
from changesource.models.queries.published import published_apps
from changesource.models.queries.replicas import ReplicaRecord, register_replica
from changesource.models.queries.sources import START_OVER_INTERVAL, source_id_of, start_over
from changesource.mongo import change_stream
from changesource.mongo.markers import MARKERS_COLLECTION, read_source_id, write_source_id
from changesource.mongo.source import Database, current_cluster_time
from changesource.operations.publisher import publish_app
from changesource.operations.readiness import find_missing
from changesource.protocol.watermarks import Position
from changesource.publishing.versions import begin_publish
from changesource.replication import source_identity as source_identity_module
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.replication.source_identity import ANOTHER_DATABASE, CLOCK_BEHIND, ID_GONE, SourceIdentity
from changesource.replication.version_history import VersionHistory
from tests.models.builders import build_app, build_table, publish
from tests.mongo.failing import fail_commands
from tests.mongo.opening import open_database
from tests.simulation.row_errors import FoundErrors
from zerosources.embedded.servers import MongoServer

pytestmark = pytest.mark.django_db(transaction=True)

AN_HOUR = 3600 << 32
KNOWN, ANOTHER = "0" * 32, "a" * 32


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}
    monkeypatch.setattr(source_identity_module, "CLOCK_SECONDS", 0.3)
    monkeypatch.setattr(source_identity_module, "ID_DROP_SECONDS", 0.5)
    monkeypatch.setattr(change_stream, "AWAIT_MS", 100)


@pytest.fixture
async def other(mongo_server: MongoServer) -> AsyncIterator[Database]:
    """Another database."""
    async with open_database(mongo_server) as found:
        yield found


@pytest.fixture
async def base() -> Version:
    return await sync_to_async(lambda: publish(build_app()))()


async def versions() -> list[tuple[int, int | None, str]]:
    """Returns number, cluster time and reason of each version, in order."""
    return await sync_to_async(
        lambda: list(Version.objects.order_by("number").values_list("number", "cluster_time", "reason"))
    )()


async def expect_replaced(base: Version, database: Database, reason: str, position: Position | None = None) -> None:
    with pytest.raises(SourceReplaced, match=reason):
        await SourceIdentity("shop", base.nonce).check(database, position)
    assert await versions() == [(1, 0, ""), (2, 0, reason)]


async def test_the_first_check_gives_the_source_an_id(base: Version, database: Database) -> None:
    """An app that was published earlier continues."""
    source_identity = SourceIdentity("shop", base.nonce)
    for _ in range(2):
        await source_identity.check(database, Position(await current_cluster_time(database)))
    await SourceIdentity("shop", base.nonce).check(database)
    await base.arefresh_from_db()
    assert base.source_id
    assert await read_source_id(database, "shop") == base.source_id
    assert await versions() == [(1, 0, "")]


async def test_concurrent_first_checks_agree(base: Version, database: Database) -> None:
    await asyncio.gather(*(SourceIdentity("shop", base.nonce).check(database) for _ in range(8)))
    await base.arefresh_from_db()
    assert await read_source_id(database, "shop") == base.source_id
    assert await versions() == [(1, 0, "")]


async def test_an_id_written_by_another_process_meanwhile_is_read_again(
    base: Version, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def look_before_another(*arguments: Any) -> str | None:
        found = await read_source_id(database, "shop")
        monkeypatch.setattr(source_identity_module, "read_source_id", read_source_id)
        await SourceIdentity("shop", base.nonce).check(database)
        return found

    monkeypatch.setattr(source_identity_module, "read_source_id", look_before_another)
    await SourceIdentity("shop", base.nonce).check(database)
    assert await versions() == [(1, 0, "")]


async def test_an_existing_id_of_the_source_is_kept(base: Version, database: Database) -> None:
    """As when an app has started over by itself."""
    await write_source_id(database, "shop", KNOWN)
    await SourceIdentity("shop", base.nonce).check(database)
    await base.arefresh_from_db()
    assert base.source_id == KNOWN


async def test_another_id_makes_the_app_start_over_once(base: Version, database: Database, other: Database) -> None:
    """Whoever else notices it. The other database is its source then."""
    await SourceIdentity("shop", base.nonce).check(database)
    await write_source_id(other, "shop", ANOTHER)
    await expect_replaced(base, other, ANOTHER_DATABASE)
    await expect_replaced(base, other, ANOTHER_DATABASE)
    published = (await published_apps(["shop"]))["shop"]
    assert (published.base_number, published.base_reason) == (2, ANOTHER_DATABASE)
    await SourceIdentity("shop", published.base_nonce).check(other)
    assert len(await versions()) == 2


async def test_a_running_process_notices_another_id(base: Version, database: Database, other: Database) -> None:
    source_identity = SourceIdentity("shop", base.nonce)
    await source_identity.check(database)
    with pytest.raises(SourceReplaced):
        await source_identity.check(other)


async def test_a_database_that_never_had_the_id_is_another_one(
    base: Version, database: Database, other: Database
) -> None:
    """It gets an id then."""
    position = Position(await current_cluster_time(database))
    await SourceIdentity("shop", base.nonce).check(database)
    await expect_replaced(base, other, ID_GONE, position)
    published = (await published_apps(["shop"]))["shop"]
    await SourceIdentity("shop", published.base_nonce).check(other)
    assert await read_source_id(other, "shop") is not None


@pytest.mark.parametrize("how", ["collection", "database", "document"])
async def test_an_id_whose_removal_is_in_the_stream_is_written_again(
    base: Version, database: Database, how: str
) -> None:
    """It is the same database."""
    await SourceIdentity("shop", base.nonce).check(database)
    position = Position(await current_cluster_time(database))
    if how == "collection":
        await database.drop_collection(MARKERS_COLLECTION)
    elif how == "database":
        await database.client.drop_database(database.name)
    else:
        await database[MARKERS_COLLECTION].delete_many({})
    await SourceIdentity("shop", base.nonce).check(database, position)
    await base.arefresh_from_db()
    assert await read_source_id(database, "shop") == base.source_id
    assert await versions() == [(1, 0, "")]


async def test_a_removal_that_the_stream_does_not_show_yet_is_waited_for(
    base: Version, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a database is dropped, its documents are gone before the change stream says so."""
    monkeypatch.setattr(source_identity_module, "ID_DROP_SECONDS", 10.0)
    source_identity = SourceIdentity("shop", base.nonce)
    await source_identity.check(database)
    position = Position(await current_cluster_time(database))
    has_looked = asyncio.Event()

    async def see_nothing(*arguments: object) -> None:
        has_looked.set()

    monkeypatch.setattr(source_identity_module, "read_source_id", see_nothing)
    check = asyncio.create_task(source_identity.check(database, position))
    await has_looked.wait()
    done, _ = await asyncio.wait([check], timeout=0.3)
    assert not done
    await database.client.drop_database(database.name)
    await check
    assert await versions() == [(1, 0, "")]


async def test_an_id_written_again_by_another_reader_ends_the_wait(
    base: Version, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_identity_module, "ID_DROP_SECONDS", 10.0)
    source_identity = SourceIdentity("shop", base.nonce)
    await source_identity.check(database)
    await base.arefresh_from_db()
    await database.drop_collection(MARKERS_COLLECTION)
    after_the_drop = Position(await current_cluster_time(database) + 1)
    check = asyncio.create_task(SourceIdentity("shop", base.nonce).check(database, after_the_drop))
    done, _ = await asyncio.wait([check], timeout=0.3)
    assert not done
    await write_source_id(database, "shop", base.source_id)
    await check
    assert await versions() == [(1, 0, "")]


async def test_without_a_position_the_newest_of_a_replica_counts(base: Version, database: Database) -> None:
    await SourceIdentity("shop", base.nonce).check(database)
    watermark = Position(await current_cluster_time(database)).watermark
    await register_replica(ReplicaRecord("shop", 0, watermark, watermark, 1, None, 0, ""))
    await database.drop_collection(MARKERS_COLLECTION)
    await SourceIdentity("shop", base.nonce).check(database)
    assert await versions() == [(1, 0, "")]


async def test_a_reader_writes_an_id_again_that_it_sees_removed(base: Version, database: Database) -> None:
    """Later checks then find it."""
    history = VersionHistory("shop", SourceIdentity("shop", base.nonce))
    start = Position(await current_cluster_time(database))
    reader = EntryReader(
        AppSource(database, history, FoundErrors()), await history.at(start), start.cluster_time, start
    )
    async with aclosing(reader.readings()) as readings:
        await anext(readings)
        marked = await read_source_id(database, "shop")
        await database.drop_collection(MARKERS_COLLECTION)
        async with asyncio.timeout(10):
            async for _ in readings:
                if await read_source_id(database, "shop") == marked:
                    break
    await SourceIdentity("shop", base.nonce).check(database, Position(await current_cluster_time(database)))
    assert await versions() == [(1, 0, "")]


async def test_a_source_behind_what_was_read_from_it_was_replaced(base: Version, database: Database) -> None:
    """Whatever its id says."""
    await SourceIdentity("shop", base.nonce).check(database)
    later = Position(await current_cluster_time(database) + AN_HOUR)
    await expect_replaced(base, database, CLOCK_BEHIND, later)


async def test_a_source_behind_what_a_replica_acknowledged_was_replaced(base: Version, database: Database) -> None:
    """Replicas of another base do not count."""
    watermark = Position(await current_cluster_time(database) + AN_HOUR).watermark
    await register_replica(ReplicaRecord("shop", 0, watermark, watermark, 1, None, 0, ""))
    await expect_replaced(base, database, CLOCK_BEHIND)
    published = (await published_apps(["shop"]))["shop"]
    await SourceIdentity("shop", published.base_nonce).check(database)


async def test_a_clock_that_catches_up_is_waited_for(
    base: Version, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just after an election, a majority may not have confirmed everything yet."""
    monkeypatch.setattr(source_identity_module, "CLOCK_SECONDS", 10.0)
    source_identity = SourceIdentity("shop", base.nonce)
    await source_identity.check(database)
    ahead = Position(await current_cluster_time(database) + 1)
    check = asyncio.create_task(source_identity.check(database, ahead))
    done, _ = await asyncio.wait([check], timeout=0.3)
    assert not done
    await database.city.insert_one({})
    await check
    assert await versions() == [(1, 0, "")]


async def test_a_read_only_source_is_only_checked_by_its_clock(
    mongo_server: MongoServer, base: Version, database: Database
) -> None:
    async with fail_commands(mongo_server, "update", errorCode=13):
        await SourceIdentity("shop", base.nonce).check(database, Position(await current_cluster_time(database)))
        assert await read_source_id(database, "shop") is None
        await expect_replaced(base, database, CLOCK_BEHIND, Position(await current_cluster_time(database) + AN_HOUR))


async def rewrite_mark(database: Database, source_id: str) -> None:
    await database[MARKERS_COLLECTION].replace_one(
        {"_id": "source:shop"}, {"app": "shop", "source": source_id}, upsert=True
    )


async def check_newest(database: Database) -> None:
    """Checks the source as a reader that begins now."""
    published = (await published_apps(["shop"]))["shop"]
    await SourceIdentity("shop", published.base_nonce).check(database)


async def doubt(database: Database) -> str:
    published = (await published_apps(["shop"]))["shop"]
    return await SourceIdentity("shop", published.base_nonce).doubt(database)


async def test_an_id_that_is_rewritten_again_and_again_stops_the_source(base: Version, database: Database) -> None:
    """The app starts over once. Then its source is not read until a person publishes again, after
    which the app may start over by itself once more."""
    await check_newest(database)
    assert await doubt(database) == ""
    await rewrite_mark(database, ANOTHER)
    with pytest.raises(SourceReplaced):
        await check_newest(database)
    await check_newest(database)
    assert await doubt(database) == ""
    for number in range(20):
        await rewrite_mark(database, f"{number:032x}")
        with pytest.raises(SourceInDoubt, match="publish shop --reset"):
            await check_newest(database)
        assert "publish shop --reset" in await doubt(database)
    assert await versions() == [(1, 0, ""), (2, 0, ANOTHER_DATABASE)]

    await sync_to_async(lambda: publish_app(App.objects.get(), resets=True))()
    await check_newest(database)
    assert await doubt(database) == ""
    for number, expected in enumerate([SourceReplaced, SourceInDoubt, SourceInDoubt], start=100):
        await rewrite_mark(database, f"{number:032x}")
        with pytest.raises(expected):
            await check_newest(database)
    assert [number for number, _, _ in await versions()] == [1, 2, 3, 4]


async def test_a_source_whose_former_id_is_back_is_trusted_again(base: Version, database: Database) -> None:
    await check_newest(database)
    await rewrite_mark(database, ANOTHER)
    with pytest.raises(SourceReplaced):
        await check_newest(database)
    await rewrite_mark(database, KNOWN)
    with pytest.raises(SourceInDoubt):
        await check_newest(database)
    await rewrite_mark(database, ANOTHER)
    await check_newest(database)
    assert await doubt(database) == ""


@pytest.mark.parametrize("odd", [5, "x" * 2**20, ["a" * 32], None], ids=["number", "huge", "array", "null"])
async def test_anything_else_in_the_place_of_the_id_is_no_id(base: Version, database: Database, odd: Any) -> None:
    """The app starts over once, and gives its source an id again."""
    position = Position(await current_cluster_time(database))
    await check_newest(database)
    await rewrite_mark(database, odd)
    await expect_replaced(base, database, ID_GONE, position)
    await check_newest(database)
    published = (await published_apps(["shop"]))["shop"]
    assert await read_source_id(database, "shop") == await source_id_of(published.base_nonce)
    await rewrite_mark(database, odd)
    with pytest.raises(SourceInDoubt):
        await check_newest(database)
    assert ID_GONE in await doubt(database)


async def test_an_app_may_start_over_again_after_a_day(base: Version, database: Database) -> None:
    await check_newest(database)
    for number in range(3):
        await rewrite_mark(database, f"{number:032x}")
        with pytest.raises(SourceReplaced):
            await check_newest(database)
        await sync_to_async(Version.objects.update)(published_at=timezone.now() - START_OVER_INTERVAL)
    assert len(await versions()) == 4


async def test_a_source_that_is_set_back_again_and_again_is_in_doubt(base: Version, database: Database) -> None:
    ahead = Position(await current_cluster_time(database) + AN_HOUR)
    await expect_replaced(base, database, CLOCK_BEHIND, ahead)
    newest = await sync_to_async(lambda: Version.objects.get(number=2))()
    await register_replica(ReplicaRecord("shop", 0, ahead.watermark, ahead.watermark, 2, None, 0, ""))
    with pytest.raises(SourceInDoubt, match=CLOCK_BEHIND):
        await SourceIdentity("shop", newest.nonce).check(database)
    assert CLOCK_BEHIND in await doubt(database)


async def test_readyz_says_why_a_source_is_in_doubt_and_what_to_do(base: Version, database: Database) -> None:
    """It is ready again when a person has done it."""

    async def missing() -> dict[str, str]:
        log = MemoryLog()
        await log.acquire_lease("watcher", 60)
        service: Any = SimpleNamespace(
            published_apps=await published_apps(),
            sources=SimpleNamespace(database=lambda name: database),
            log_of=lambda published: log,
        )
        return await find_missing(service)

    await check_newest(database)
    assert await missing() == {}
    for number in range(2):
        await rewrite_mark(database, f"{number:032x}")
        with pytest.raises((SourceReplaced, SourceInDoubt)):
            await check_newest(database)
    found = await missing()
    assert list(found) == ["identity shop"]
    assert "manage.py publish shop --reset" in found["identity shop"]
    await sync_to_async(lambda: publish_app(App.objects.get(), resets=True))()
    assert await missing() == {}


async def test_a_publish_under_way_is_dropped_when_the_app_starts_over(base: Version) -> None:
    """Its publisher is told to publish again."""

    def edit_and_begin() -> Version:
        build_table(App.objects.get(), "river", {"_id": {}})
        return begin_publish(App.objects.get())

    version = await sync_to_async(edit_and_begin)()
    await start_over("shop", base.nonce, ANOTHER, ANOTHER_DATABASE)
    assert not await sync_to_async(Version.objects.confirm)(version.nonce, 5)
    newest = await sync_to_async(lambda: Version.objects.get(number=2))()
    assert newest.definition == base.definition
    assert newest.source_id == ANOTHER


async def test_access_of_clients_begins_without_a_marker_when_the_app_starts_over(base: Version) -> None:
    """Their markers are in the other database."""

    def grant() -> Client:
        client = Client.objects.create_for_apps("cache", [App.objects.get()])
        client.access_versions.create(app=App.objects.get(), number=1, access={}, cluster_time=AN_HOUR)
        return client

    client = await sync_to_async(grant)()
    await start_over("shop", base.nonce, ANOTHER, ANOTHER_DATABASE)
    newest = await sync_to_async(lambda: client.access_versions.order_by("number").last())()
    assert newest is not None
    assert (newest.number, newest.cluster_time) == (2, 0)
