"""markers.py, entry_reader.py, log/, client_access.py: what somebody who may write to the source can write to the markers'
collection, and what it does to streams."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo import ReplaceOne
from pymongo.errors import PyMongoError

from changesource.log.entries import ChangeLog, Entry, EntryId
from changesource.log.memory import MemoryLog
from changesource.log.redis import RedisLog
from changesource.models import AccessVersion, App, Client, Version, queries
from changesource.models.queries.access import ClientInApp
from changesource.models.queries.clients import Identity
from changesource.mongo.markers import MARKERS_COLLECTION, write_marker
from changesource.mongo.source import Database
from changesource.operations.publisher import publish_app
from changesource.protocol.watermarks import Position
from changesource.replication import lookups
from changesource.sessions.client_access import ClientAccess
from tests.faults.sessions import ChangeSource, Replica, change_source
from tests.log.opening import RedisLogs
from tests.models.builders import build_app, build_table, publish
from tests.mql.bson_values import field_names, values
from tests.simulation.builders import APP_ID, table, version, whole_view
from tests.simulation.following import entries_from
from zerosources.embedded.servers import MongoServer, ValkeyServer

pytestmark = pytest.mark.django_db(transaction=True)

CITY = version(table("city"))
DEADLINE_SECONDS = 20.0


@pytest.fixture(params=["memory", "redis"])
def log(request: pytest.FixtureRequest) -> ChangeLog:
    if request.param == "memory":
        return MemoryLog()
    logs: RedisLogs = request.getfixturevalue("redis_logs")
    return logs.open()


@pytest.fixture
async def access(settings: Any) -> ClientAccess:
    """Of a connected client that may read everything."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}

    def client() -> Client:
        app = build_app()
        publish(app)
        return Client.objects.create_for_apps("cache", [App.objects.get(pk=app.pk)])

    pk = (await sync_to_async(client)()).pk
    key = ClientInApp(pk, APP_ID)
    await queries.access.begin_access(key)
    entitlements = (await queries.access.read_entitlements([pk]))[key]
    return ClientAccess(Identity(pk, "cache"), APP_ID, (), entitlements)


async def log_until(log: ChangeLog, database: Database, start: Position, nonce: str) -> list[Entry]:
    """The stream from `start` to the marker with `nonce`, by way of the log."""
    tail = EntryId(start)
    await log.append(Entry(id=tail, commit_time_ms=0, is_start=True), None)
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(entries_from(database, CITY, start)) as entries:
        async for entry in entries:
            await log.append(entry, tail)
            tail = entry.id
            if nonce in entry.markers:
                break
    found: list[Entry] = []
    last: EntryId | None = None
    while some := await log.read(last, 32):
        found += some
        last = some[-1].id
    return found[1:]


async def test_a_cluster_time_in_the_text_of_a_marker_says_nothing(
    database: Database, start: Position, log: ChangeLog, access: ClientAccess
) -> None:
    """A marker that says where it is says nothing: no stream of the client ends by it."""
    text = f"x access:{access.key.client_id}:aa:99999999999999999999"
    await database[MARKERS_COLLECTION].insert_one({"_id": 1, "app": APP_ID, "nonce": text})
    await database[MARKERS_COLLECTION].insert_one({"_id": f"barrier:{APP_ID}", "app": APP_ID, "nonce": text})
    entries = await log_until(log, database, start, await write_marker(database, APP_ID, "barrier"))
    for entry in entries:
        assert await access.view_after(entry, whole_view(CITY)) is None


async def test_nothing_of_a_huge_marker_reaches_the_log(database: Database, start: Position, log: ChangeLog) -> None:
    """Of a marker as large as a document may be nothing reaches the log, whichever it names itself."""
    text = " ".join(["ab"] * (5 * 2**20))
    await database[MARKERS_COLLECTION].insert_one({"_id": 1, "app": APP_ID, "nonce": text})
    await database[MARKERS_COLLECTION].insert_one({"_id": f"barrier:{APP_ID}", "app": APP_ID, "nonce": text})
    entries = await log_until(log, database, start, await write_marker(database, APP_ID, "barrier"))
    assert sum(sum(map(len, entry.markers)) for entry in entries) < 1000


# A whole system, while anything is written


class Asked:
    """What the streams ask of the Django database because of markers, and what they append to the log."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lookups: list[float] = []
        self.confirmations = 0
        self.entries: list[int] = []
        for module, name in ((queries.published, "stored_versions"), (queries.access, "access_cutovers")):
            monkeypatch.setattr(module, name, self._noting(getattr(module, name), self.lookups))
        for name in ("confirm_access", "access_versions"):
            monkeypatch.setattr(queries.access, name, self._confirming(getattr(queries.access, name)))
        for log in (MemoryLog, RedisLog):
            monkeypatch.setattr(log, "append", self._appending(log.append))

    def _noting(self, function: Any, times: list[float]) -> Any:
        async def noting(*args: Any) -> Any:
            times.append(time.monotonic())
            return await function(*args)

        return noting

    def _confirming(self, function: Any) -> Any:
        async def confirming(*args: Any) -> Any:
            self.confirmations += 1
            return await function(*args)

        return confirming

    def _appending(self, function: Any) -> Any:
        async def appending(log: ChangeLog, entry: Entry, *args: Any) -> Any:
            self.entries.append(entry.size)
            return await function(log, entry, *args)

        return appending

    def expect_few(self, since: float) -> None:
        """Lookups of both kinds, at most so often each, since a moment at which all was quiet."""
        seconds = time.monotonic() - since
        assert len([at for at in self.lookups if at > since]) <= 2 * (seconds / lookups.LOOKUP_SECONDS + 2)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


@pytest.fixture(params=["memory", "redis"])
async def source(
    request: pytest.FixtureRequest,
    mongo_server: MongoServer,
    valkey_server: ValkeyServer,
    redis_logs: RedisLogs,  # for the channel layer
    settings: Any,
    asked: Asked,
) -> AsyncIterator[ChangeSource]:
    uri = mongo_server.uri(f"forged_{uuid.uuid4().hex[:12]}")
    settings.CHANGESOURCE_SOURCES = {"default": uri}
    redis_url = valkey_server.url if request.param == "redis" else ""
    app = await sync_to_async(build_app)()
    async with change_source(uri, app, redis_url=redis_url, heartbeat_seconds=0.5) as source:
        await source.database.city.insert_one({"_id": 0, "name": "Bern"})
        yield source


@pytest.fixture
async def replica(source: ChangeSource) -> AsyncIterator[Replica]:
    """Of a zero-cache that follows."""
    replica = Replica()
    await source.take_snapshot(replica)
    async with source.streaming(replica):
        yield replica


NONCES = st.one_of(
    st.sampled_from(
        ["a" * 32, f"access:1:{'a' * 32}", f"access:1:{'a' * 32}:{10**19}", "x access:1:aa:99999999999999999999"]
    ),
    st.text(alphabet="0123456789abcdef", min_size=32, max_size=32),
    st.integers(1, 3).map(lambda client: f"access:{client}:{uuid.UUID(int=client).hex}"),
    st.integers(1, 2**22).map(lambda size: "ab " * size),
    values,
)
IDS = st.one_of(
    st.sampled_from(
        ["barrier", "heartbeat", "publish", "access:1", "access:2", "access:99999999999999999999", "end"]
    ).map(lambda kind: f"{kind}:{APP_ID}"),
    st.integers(),
    field_names,
    st.dictionaries(field_names, st.integers(-9, 9), max_size=2),
)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "app": st.one_of(st.just(APP_ID), values),
        "nonce": NONCES,
        "version": st.one_of(st.integers(-1, 4), st.sampled_from([2**31 - 1, 2**31, 2**63 - 1, True]), values),
        "source": values,
        "at": values,
        "copied": st.sampled_from(["nonce", "version", "whole"]),
    },
)
WRITES = st.lists(
    st.tuples(st.sampled_from(["insert", "replace", "set", "delete", "transaction", "drop", "rename"]), IDS, FIELDS),
    min_size=1,
    max_size=12,
)


async def genuine(source: ChangeSource) -> list[dict[str, Any]]:
    """Markers that were written, and of which it is known here what they are."""

    def stored() -> list[dict[str, Any]]:
        publishes = [
            {"_id": f"publish:{APP_ID}", "app": APP_ID, "nonce": nonce, "version": number}
            for number, nonce in Version.objects.values_list("number", "nonce")
        ]
        accesses = [
            {"_id": f"access:{client}:{APP_ID}", "app": APP_ID, "nonce": f"access:{client}:{nonce}"}
            for client, nonce in AccessVersion.objects.values_list("client_id", "nonce")
        ]
        return publishes + accesses

    written = [
        document async for document in source.database[MARKERS_COLLECTION].find({"_id": {"$type": "string"}}).limit(9)
    ]
    return await sync_to_async(stored)() + [one for one in written if one["_id"] != f"source:{APP_ID}"]


async def write(source: ChangeSource, kind: str, document: dict[str, Any], number: int) -> None:
    markers = source.database[MARKERS_COLLECTION]
    where = {"_id": document["_id"]}
    fields = {name: value for name, value in document.items() if name != "_id"}
    match kind:
        case "insert":
            await markers.insert_one(document)
        case "replace":
            await markers.replace_one(where, fields, upsert=True)
        case "set":
            await markers.update_one(where, {"$set": {"more": 1, **fields}}, upsert=True)
        case "delete":
            await markers.delete_many(where)
        case "transaction":
            async with source.database.client.start_session() as session, await session.start_transaction():
                await source.database.city.insert_one({"_id": number, "name": "in a transaction"}, session=session)
                await markers.replace_one(where, fields, upsert=True, session=session)
                await source.database.city.delete_one({"_id": number - 1}, session=session)
        case "drop":
            await markers.drop()
        case "rename":
            await source.database.elsewhere.insert_one(document)
            await source.database.elsewhere.rename(MARKERS_COLLECTION, dropTarget=True)


async def test_whatever_is_written_to_the_markers_streams_go_on(
    source: ChangeSource, replica: Replica, asked: Asked
) -> None:
    """Whatever is written to the markers' collection, in whichever way, and whatever of genuine markers it repeats: streams
    go on, the rows are right, and neither queries nor entries of the log grow by it. A publish and a snapshot work then."""
    numbers = iter(range(100, 10**9, 2))
    began = time.monotonic()
    confirmations = asked.confirmations

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(WRITES)
    def collect(found: list[Any]) -> None:
        examples.append(found)

    examples: list[Any] = []
    collect()
    for writes in examples:
        known = await genuine(source)
        for kind, document_id, fields in writes:
            number = next(numbers)
            document = {"_id": document_id, **{name: value for name, value in fields.items() if name != "copied"}}
            copied = known[number // 2 % len(known)]
            match fields.get("copied"):
                case "whole":
                    document = copied
                case "nonce" | "version" as name if name in copied:
                    document[name] = copied[name]
            with suppress(PyMongoError, OverflowError, ValueError):  # MongoDB, or PyMongo, does not take some
                await write(source, kind, document, number)
            await source.database.city.insert_one({"_id": -number, "name": f"beside {number}"})
        await replica.until_equal(source)
    asked.expect_few(began)
    assert asked.confirmations == confirmations
    assert max(asked.entries) < 200_000

    def edit_and_publish() -> None:
        build_table(App.objects.get(), "river", {"_id": {}})
        publish_app(App.objects.get())

    await source.database.river.insert_one({"_id": 1})
    await sync_to_async(edit_and_publish)()
    await replica.until(lambda: bool(replica.published.get("river")))
    another = Replica()
    await source.take_snapshot(another, shard_num=1)
    assert another.published == replica.published


FLOOD = 8_000


async def test_a_flood_of_markers_costs_few_queries_and_no_entries(
    source: ChangeSource, replica: Replica, asked: Asked
) -> None:
    """Thousands of forged markers in a second, each with a nonce of its own, beside rows, cost some queries and no entries of
    their own; the rows come meanwhile, and so does a publish."""
    markers = source.database[MARKERS_COLLECTION]
    client_id = source.client.pk
    publish_id, access_id = f"publish:{APP_ID}", f"access:{client_id}:{APP_ID}"
    began, entries, confirmations = time.monotonic(), len(asked.entries), asked.confirmations

    async def flood() -> None:
        for start in range(0, FLOOD, 500):
            forged: list[Any] = []
            for number in range(start, start + 500):
                nonce = f"{number:032x}"
                forged.append(
                    ReplaceOne(
                        {"_id": publish_id}, {"app": APP_ID, "nonce": nonce, "version": 2 + number % 7}, upsert=True
                    )
                    if number % 2
                    else ReplaceOne(
                        {"_id": access_id}, {"app": APP_ID, "nonce": f"access:{client_id}:{nonce}"}, upsert=True
                    )
                )
            await markers.bulk_write(forged)
            await source.database.city.insert_one({"_id": -start - 1, "name": "beside"})

    def edit_and_publish() -> None:
        build_table(App.objects.get(), "river", {"_id": {}})
        publish_app(App.objects.get())

    flooding = asyncio.create_task(flood())
    await source.database.river.insert_one({"_id": 1})
    await replica.until(lambda: len(replica.published["city"]) > 3)
    await sync_to_async(edit_and_publish)()
    await replica.until(lambda: bool(replica.published.get("river")))
    await flooding
    await replica.until_equal(source)
    asked.expect_few(began)
    assert asked.confirmations == confirmations
    assert len(asked.entries) - entries < FLOOD / 20
    assert max(asked.entries) < 200_000
