"""What the streaming code asks of the Django DB."""

import asyncio
from dataclasses import replace

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from changesource.models import App, Client, Replica, RowErrorRecord, store
from changesource.models.database_threads import STREAMS
from changesource.models.store import MAX_ROW_ERRORS, ReplicaRecord
from changesource.tables.row_errors import RowError
from tests.models.builders import build_app, build_table, publish

pytestmark = [pytest.mark.django_db(transaction=True)]

RECORD = ReplicaRecord(
    "shop",
    0,
    replica_version="5abcde",
    snapshot_end="5abcdz",
    version_number=1,
    client_id=None,
    access_number=1,
    scope="s",
)


@pytest.fixture(autouse=True)
def default_source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def app() -> App:
    return build_app()


@pytest.fixture
def client(app: App) -> Client:
    return Client.objects.create_for_apps("cache", [app])


def queries_of(coroutine) -> int:
    """How many queries the database thread runs for `coroutine`."""

    async def count() -> int:
        def start() -> CaptureQueriesContext:
            return CaptureQueriesContext(connection).__enter__()

        captured = await STREAMS.ask(start)
        await coroutine
        return await STREAMS.ask(lambda: len(captured))

    return asyncio.run(count())


class TestPublishedApps:
    async def test_app_without_version(self, app: App) -> None:
        """An app that was never published does not stream."""
        assert await store.published_apps() == {}

    async def test_newest_version(self, app: App) -> None:
        """Each app has its newest version, with the definition that was published."""
        await sync_to_async(publish)(app)
        assert (await store.published_apps())["shop"].number == 1
        await sync_to_async(build_table)(app, "country", {"_id": {}})
        version = await sync_to_async(publish)(app)
        published = (await store.published_apps())["shop"]
        assert (published.app_id, published.number) == ("shop", 2)
        assert published.definition == version.to_definition()

    async def test_only_apps_asked_for(self, app: App) -> None:
        """With app ids, other apps are left out, and unknown ones are missing."""
        await sync_to_async(publish)(app)
        await sync_to_async(lambda: publish(build_app("other")))()
        assert set(await store.published_apps()) == {"shop", "other"}
        assert set(await store.published_apps(["other", "nope"])) == {"other"}

    def test_known_definitions_are_not_read_again(self, app: App) -> None:
        """Polling costs one query while nothing is published."""
        publish(app)
        asyncio.run(store.published_apps())
        assert queries_of(store.published_apps()) == 1

    async def test_app_created_again(self, app: App) -> None:
        """Version 1 of an app that was deleted is not taken for version 1 of its successor."""
        await sync_to_async(publish)(app)
        await store.published_apps()

        def recreate() -> None:
            app.delete()
            successor = build_app()
            build_table(successor, "successor", {"_id": {}})
            publish(successor)

        await sync_to_async(recreate)()
        assert (await store.published_apps())["shop"].definition.tables[1].name == "successor"


class TestReplicas:
    async def test_unknown(self, app: App) -> None:
        """A replica that was never registered is None."""
        assert await store.find_replica("shop", 0, "5abcde") is None

    async def test_registered(self, client: Client) -> None:
        """A registered replica is found as it was."""
        await store.register_replica(replace(RECORD, client_id=client.pk))
        assert await store.find_replica("shop", 0, "5abcde") == replace(RECORD, client_id=client.pk)

    async def test_registered_twice(self, client: Client) -> None:
        """Registering again, as after a lost reply, replaces."""
        await store.register_replica(replace(RECORD, client_id=client.pk))
        await store.register_replica(replace(RECORD, client_id=client.pk))
        assert await Replica.objects.acount() == 1

    async def test_shards_are_apart(self, client: Client) -> None:
        """Another shard of the same replica version is another replica."""
        await store.register_replica(replace(RECORD, client_id=client.pk))
        assert await store.find_replica("shop", 1, "5abcde") is None

    async def test_deleted_app(self, app: App, client: Client) -> None:
        """A snapshot that ends after its app was deleted registers nothing and fails nobody."""
        await app.adelete()
        await store.register_replica(replace(RECORD, client_id=client.pk))
        assert await Replica.objects.acount() == 0

    async def test_deleted_client(self, client: Client) -> None:
        """A replica outlives its client."""
        client_id = client.pk
        await client.adelete()
        await store.register_replica(replace(RECORD, client_id=client_id))
        assert (await Replica.objects.aget()).client_id is None

    async def test_acknowledged(self, client: Client) -> None:
        """The newest acknowledged watermark is kept; one that comes late does not take it back."""
        await store.register_replica(replace(RECORD, client_id=client.pk))
        for watermark in ("5abcdf", "5abcdz", "5abcdh"):
            await store.note_acknowledged("shop", 0, "5abcde", watermark)
        assert (await Replica.objects.aget()).acknowledged == "5abcdz"


class TestEndedRowErrors:
    async def test_ended(self, app) -> None:
        """The errors of a document in a table are forgotten; one that comes with that is counted anew."""
        await store.record_row_errors(
            "shop",
            [RowError(table, number, "size", "is text") for table in ("city", "place") for number in ("1", "2")],
        )
        await store.record_row_errors("shop", [RowError("city", "2", "size", "")], [("city", "1"), ("city", "2")])
        found = await store.documents_with_row_errors(["shop"])
        assert {table: sorted(ids) for table, ids in found["shop"].items()} == {"city": ["2"], "place": ["1", "2"]}
        assert (await RowErrorRecord.objects.aget(table="city")).count == 1

    async def test_of_all_apps(self, app) -> None:
        """Without ids of apps, all documents with row errors are given."""
        await store.record_row_errors("shop", [RowError("city", "1", "size", ""), RowError("city", "1", "name", "")])
        assert await store.documents_with_row_errors() == {"shop": {"city": ["1"]}}
        assert await store.documents_with_row_errors(["other"]) == {}


class TestRowErrors:
    async def test_counted(self, app: App) -> None:
        """The same place is one record with a count, over several calls, and its newest reason."""
        error = RowError("city", "1", "size", "is text")
        await store.record_row_errors("shop", [error, error])
        await store.record_row_errors("shop", [RowError("city", "1", "size", "is too long")])
        record = await RowErrorRecord.objects.aget()
        assert (record.count, record.reason) == (3, "is too long")
        assert record.first_seen < record.last_seen

    async def test_places_are_apart(self, app: App) -> None:
        """Table, document and column tell records apart."""
        errors = [RowError(table, document, column, "") for table in "ab" for document in "12" for column in "xy"]
        await store.record_row_errors("shop", errors)
        await store.record_row_errors("shop", errors[:1])
        assert await RowErrorRecord.objects.acount() == 8
        assert await RowErrorRecord.objects.filter(count=2).acount() == 1

    async def test_long_and_odd_text(self, app: App) -> None:
        """An `_id` of any length and with any character is stored, cut."""
        await store.record_row_errors("shop", [RowError("city", "ä\0" * 5_000, "size", "r" * 5_000)] * 2)
        record = await RowErrorRecord.objects.aget()
        assert (len(record.document_id), len(record.reason), record.count) == (200, 500, 2)
        assert "\0" not in record.document_id

    async def test_newest_are_kept(self, app: App) -> None:
        """No more than the newest thousand of an app are kept."""
        await store.record_row_errors("shop", [RowError("city", "old", "size", "")])
        await store.record_row_errors("shop", [RowError("city", str(n), "size", "") for n in range(MAX_ROW_ERRORS + 5)])
        assert await RowErrorRecord.objects.acount() == MAX_ROW_ERRORS
        assert not await RowErrorRecord.objects.filter(document_id__in=["old", "4"]).aexists()
        assert await RowErrorRecord.objects.filter(document_id="5").aexists()

    async def test_apps_are_apart(self, app: App) -> None:
        """Many errors of one app push out none of another."""
        await sync_to_async(build_app)("other")
        await store.record_row_errors("other", [RowError("city", "1", "size", "")])
        await store.record_row_errors("shop", [RowError("city", str(n), "size", "") for n in range(MAX_ROW_ERRORS)])
        assert await RowErrorRecord.objects.filter(app__app_id="other").acount() == 1

    async def test_unknown_app(self) -> None:
        """Errors of an app that was deleted are dropped."""
        await store.record_row_errors("nope", [RowError("city", "1", "size", "")])
        assert await RowErrorRecord.objects.acount() == 0

    async def test_none(self, app: App) -> None:
        """No errors, no work."""
        await store.record_row_errors("shop", [])
        assert await RowErrorRecord.objects.acount() == 0


async def test_concurrent_calls(client: Client) -> None:
    """Calls of many streams at once all get their answer."""
    await store.register_replica(replace(RECORD, client_id=client.pk))
    found = await asyncio.gather(*(store.find_replica("shop", 0, "5abcde") for _ in range(50)))
    assert found == [replace(RECORD, client_id=client.pk)] * 50
    assert (await Replica.objects.aget()).last_seen_at <= timezone.now()
