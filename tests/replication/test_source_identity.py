"""source_identity.py: whether a source is the database that it was. Each source is a database of the embedded server."""

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
from changesource.models.source_store import BEGINS_ANEW_AFTER, begin_anew, source_id_of
from changesource.models.store import ReplicaRecord, published_apps, register_replica
from changesource.mongo import change_stream
from changesource.mongo.markers import MARKERS_COLLECTION, read_source_id, write_source_id
from changesource.mongo.source import Database, current_cluster_time
from changesource.operations.publisher import publish_app
from changesource.operations.readiness import find_missing
from changesource.protocol.watermarks import Position
from changesource.publishing.versions import begin_publish
from changesource.replication import source_identity as source_identity_module
from changesource.replication.entry_reader import EntryReader
from changesource.replication.source_identity import ANOTHER_DATABASE, CLOCK_BEHIND, MARK_GONE, SourceIdentity
from changesource.replication.version_history import VersionHistory
from tests.models.builders import build_app, build_table, publish
from tests.mongo.failing import fail_commands
from tests.mongo.opening import open_database
from zerosources.embedded.servers import MongoServer

pytestmark = pytest.mark.django_db(transaction=True)

AN_HOUR = 3600 << 32
KNOWN, ANOTHER = "0" * 32, "a" * 32


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}
    monkeypatch.setattr(source_identity_module, "CLOCK_SECONDS", 0.3)
    monkeypatch.setattr(source_identity_module, "MARK_SECONDS", 0.5)
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
    """Number, cluster time and reason of each, in order."""
    return await sync_to_async(
        lambda: list(Version.objects.order_by("number").values_list("number", "cluster_time", "reason"))
    )()


async def expect_replaced(base: Version, database: Database, reason: str, position: Position | None = None) -> None:
    with pytest.raises(SourceReplaced, match=reason):
        await SourceIdentity("shop", base.nonce).check(database, position)
    assert await versions() == [(1, 0, ""), (2, 0, reason)]


async def test_first_look(base: Version, database: Database) -> None:
    """An app that was published before anybody looked goes on, and its source is known from then on."""
    source_identity = SourceIdentity("shop", base.nonce)
    for _ in range(2):
        await source_identity.check(database, Position(await current_cluster_time(database)))
    await SourceIdentity("shop", base.nonce).check(database)
    await base.arefresh_from_db()
    assert base.source_id
    assert await read_source_id(database, "shop") == base.source_id
    assert await versions() == [(1, 0, "")]


async def test_first_look_of_many(base: Version, database: Database) -> None:
    """Processes that look at the same time agree."""
    await asyncio.gather(*(SourceIdentity("shop", base.nonce).check(database) for _ in range(8)))
    await base.arefresh_from_db()
    assert await read_source_id(database, "shop") == base.source_id
    assert await versions() == [(1, 0, "")]


async def test_marked_at_this_moment(base: Version, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds no mark, and then that another has marked the source, looks again."""

    async def look_before_another(*arguments: Any) -> str | None:
        found = await read_source_id(database, "shop")
        monkeypatch.setattr(source_identity_module, "read_source_id", read_source_id)
        await SourceIdentity("shop", base.nonce).check(database)
        return found

    monkeypatch.setattr(source_identity_module, "read_source_id", look_before_another)
    await SourceIdentity("shop", base.nonce).check(database)
    assert await versions() == [(1, 0, "")]


async def test_source_that_is_marked_already(base: Version, database: Database) -> None:
    """An app that begins anew by itself keeps its source."""
    await write_source_id(database, "shop", KNOWN)
    await SourceIdentity("shop", base.nonce).check(database)
    await base.arefresh_from_db()
    assert base.source_id == KNOWN


async def test_another_database(base: Version, database: Database, other: Database) -> None:
    """Another id begins the app anew, once, whoever else notices it; then that is its source."""
    await SourceIdentity("shop", base.nonce).check(database)
    await write_source_id(other, "shop", ANOTHER)
    await expect_replaced(base, other, ANOTHER_DATABASE)
    await expect_replaced(base, other, ANOTHER_DATABASE)
    published = (await published_apps(["shop"]))["shop"]
    assert (published.base_number, published.base_reason) == (2, ANOTHER_DATABASE)
    await SourceIdentity("shop", published.base_nonce).check(other)
    assert len(await versions()) == 2


async def test_noticed_while_it_runs(base: Version, database: Database, other: Database) -> None:
    """A process that knows its source notices when it becomes another one."""
    source_identity = SourceIdentity("shop", base.nonce)
    await source_identity.check(database)
    with pytest.raises(SourceReplaced):
        await source_identity.check(other)


async def test_database_without_a_mark(base: Version, database: Database, other: Database) -> None:
    """A database that was never marked is another one, where one was marked before; it is marked then."""
    position = Position(await current_cluster_time(database))
    await SourceIdentity("shop", base.nonce).check(database)
    await expect_replaced(base, other, MARK_GONE, position)
    published = (await published_apps(["shop"]))["shop"]
    await SourceIdentity("shop", published.base_nonce).check(other)
    assert await read_source_id(other, "shop") is not None


@pytest.mark.parametrize("how", ["collection", "database", "document"])
async def test_mark_taken_away(base: Version, database: Database, how: str) -> None:
    """Where the change stream shows that the mark was dropped, it is the same database, and is marked again."""
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


async def test_mark_taken_away_at_this_moment(
    base: Version, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a database is dropped its documents are gone before the change stream says so."""
    monkeypatch.setattr(source_identity_module, "MARK_SECONDS", 10.0)
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


async def test_mark_written_again_by_another_reader(
    base: Version, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks between the drop and the writing of another reader does not wonder for long."""
    monkeypatch.setattr(source_identity_module, "MARK_SECONDS", 10.0)
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


async def test_mark_taken_away_while_nobody_read(base: Version, database: Database) -> None:
    """Who has no position begins at the newest that a replica is known to have."""
    await SourceIdentity("shop", base.nonce).check(database)
    watermark = Position(await current_cluster_time(database)).watermark
    await register_replica(ReplicaRecord("shop", 0, watermark, watermark, 1, None, 0, ""))
    await database.drop_collection(MARKERS_COLLECTION)
    await SourceIdentity("shop", base.nonce).check(database)
    assert await versions() == [(1, 0, "")]


async def test_mark_taken_away_under_way(base: Version, database: Database) -> None:
    """Who reads without a break marks the database again at once, so that later nobody wonders."""
    history = VersionHistory("shop", SourceIdentity("shop", base.nonce))
    start = Position(await current_cluster_time(database))
    reader = EntryReader(database, history, await history.at(start), start.cluster_time, start, lambda errors: None)
    async with aclosing(reader.entries()) as entries:
        await anext(entries)
        marked = await read_source_id(database, "shop")
        await database.drop_collection(MARKERS_COLLECTION)
        async with asyncio.timeout(10):
            async for _ in entries:
                if await read_source_id(database, "shop") == marked:
                    break
    await SourceIdentity("shop", base.nonce).check(database, Position(await current_cluster_time(database)))
    assert await versions() == [(1, 0, "")]


async def test_set_back(base: Version, database: Database) -> None:
    """A source that has not reached what was read of it is not the one that was read, whatever its mark says."""
    await SourceIdentity("shop", base.nonce).check(database)
    later = Position(await current_cluster_time(database) + AN_HOUR)
    await expect_replaced(base, database, CLOCK_BEHIND, later)


async def test_set_back_while_nobody_read(base: Version, database: Database) -> None:
    """Nor is it if it has not reached what a replica has acknowledged. What replicas of another base had says nothing."""
    watermark = Position(await current_cluster_time(database) + AN_HOUR).watermark
    await register_replica(ReplicaRecord("shop", 0, watermark, watermark, 1, None, 0, ""))
    await expect_replaced(base, database, CLOCK_BEHIND)
    published = (await published_apps(["shop"]))["shop"]
    await SourceIdentity("shop", published.base_nonce).check(database)


async def test_clock_that_catches_up(base: Version, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An instant after an election a majority may not have confirmed yet what it has: that is waited for."""
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


async def test_read_only(mongo_server: MongoServer, base: Version, database: Database) -> None:
    """A source that may not be written to is used without a mark; its clock is looked at all the same."""
    async with fail_commands(mongo_server, "update", errorCode=13):
        await SourceIdentity("shop", base.nonce).check(database, Position(await current_cluster_time(database)))
        assert await read_source_id(database, "shop") is None
        await expect_replaced(base, database, CLOCK_BEHIND, Position(await current_cluster_time(database) + AN_HOUR))


async def rewrite_mark(database: Database, source_id: str) -> None:
    await database[MARKERS_COLLECTION].replace_one(
        {"_id": "source:shop"}, {"app": "shop", "source": source_id}, upsert=True
    )


async def check_newest(database: Database) -> None:
    """As whoever begins to read now does."""
    published = (await published_apps(["shop"]))["shop"]
    await SourceIdentity("shop", published.base_nonce).check(database)


async def doubt(database: Database) -> str:
    published = (await published_apps(["shop"]))["shop"]
    return await SourceIdentity("shop", published.base_nonce).doubt(database)


async def test_mark_rewritten_time_and_again(base: Version, database: Database) -> None:
    """Somebody who rewrites the mark makes the app begin anew once. Then its source is not read any more until a person has
    published it again, after which it may begin anew by itself once more."""
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


async def test_mark_that_is_what_it_was(base: Version, database: Database) -> None:
    """Where the mark is again the one that is known, the source is trusted again."""
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
async def test_mark_that_is_none(base: Version, database: Database, odd: Any) -> None:
    """Rubbish in the place of the mark is no mark: the app begins anew once, and marks its source again."""
    position = Position(await current_cluster_time(database))
    await check_newest(database)
    await rewrite_mark(database, odd)
    await expect_replaced(base, database, MARK_GONE, position)
    await check_newest(database)
    published = (await published_apps(["shop"]))["shop"]
    assert await read_source_id(database, "shop") == await source_id_of(published.base_nonce)
    await rewrite_mark(database, odd)
    with pytest.raises(SourceInDoubt):
        await check_newest(database)
    assert MARK_GONE in await doubt(database)


async def test_once_in_a_day(base: Version, database: Database) -> None:
    """A source that is replaced again after a day is replaced as it was the first time."""
    await check_newest(database)
    for number in range(3):
        await rewrite_mark(database, f"{number:032x}")
        with pytest.raises(SourceReplaced):
            await check_newest(database)
        await sync_to_async(Version.objects.update)(published_at=timezone.now() - BEGINS_ANEW_AFTER)
    assert len(await versions()) == 4


async def test_clock_in_doubt(base: Version, database: Database) -> None:
    """The same for a source that is set back time and again."""
    ahead = Position(await current_cluster_time(database) + AN_HOUR)
    await expect_replaced(base, database, CLOCK_BEHIND, ahead)
    newest = await sync_to_async(lambda: Version.objects.get(number=2))()
    await register_replica(ReplicaRecord("shop", 0, ahead.watermark, ahead.watermark, 2, None, 0, ""))
    with pytest.raises(SourceInDoubt, match=CLOCK_BEHIND):
        await SourceIdentity("shop", newest.nonce).check(database)
    assert CLOCK_BEHIND in await doubt(database)


async def test_readiness_of_a_source_in_doubt(base: Version, database: Database) -> None:
    """`/readyz` says what is wrong and what to do, and is right again when a person has done it."""

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


async def test_publish_under_way(base: Version) -> None:
    """A publish that is under way is not part of what begins anew: its publisher is told to publish again."""

    def edit_and_begin() -> Version:
        build_table(App.objects.get(), "river", {"_id": {}})
        return begin_publish(App.objects.get())

    version = await sync_to_async(edit_and_begin)()
    await begin_anew("shop", base.nonce, ANOTHER, ANOTHER_DATABASE)
    assert not await sync_to_async(Version.objects.confirm)(version.nonce, 5)
    newest = await sync_to_async(lambda: Version.objects.get(number=2))()
    assert newest.definition == base.definition
    assert newest.source_id == ANOTHER


async def test_access_begins_anew(base: Version) -> None:
    """What clients may read begins without a marker, since theirs are in the other database."""

    def grant() -> Client:
        client = Client.objects.create_for_apps("cache", [App.objects.get()])
        client.access_versions.create(app=App.objects.get(), number=1, access={}, cluster_time=AN_HOUR)
        return client

    client = await sync_to_async(grant)()
    await begin_anew("shop", base.nonce, ANOTHER, ANOTHER_DATABASE)
    newest = await sync_to_async(lambda: client.access_versions.order_by("number").last())()
    assert newest is not None
    assert (newest.number, newest.cluster_time) == (2, 0)
