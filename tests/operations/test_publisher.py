"""publisher.py: a publish sees to the pre-images that the draft needs; one that fails changes nothing."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from changesource.errors import InvalidDefinition, SourceUnreachable, SourceUnusable
from changesource.models import App, Version
from changesource.operations import publish_estimate, publisher
from changesource.operations.publisher import publish_app
from changesource.protocol.transforms import KEPT_SECONDS
from changesource.publishing.collection_problems import CollectionProblems
from changesource.publishing.versions import begin_publish
from tests.models.builders import build_app, build_table
from tests.mongo.impatience import do_not_wait
from tests.simulation.sources import ITEMS, PlainDatabase, default_source, failing, records_pre_images, refused
from zerosources.embedded.ports import free_port
from zerosources.embedded.servers import MongoServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def database(mongo_server: MongoServer, settings: Any) -> Iterator[PlainDatabase]:
    with default_source(mongo_server, settings) as found:
        yield found


@pytest.fixture
def app() -> App:
    """One that needs pre-images of `orders`."""
    app = build_app()
    build_items(app)
    return app


def build_items(app: App, name: str = "item", collection: str = "orders") -> None:
    build_table(app, name, {"sku": {}, "order": {}}, collection=collection, mapping=ITEMS, primary_key=["order", "sku"])


def test_pre_images_are_switched_on(database: PlainDatabase, app: App) -> None:
    """Pre-images are switched on where a table needs them, and nowhere else."""
    database.orders.insert_one({"items": []})
    database.city.insert_one({})
    assert publish_app(app).number == 1
    assert records_pre_images(database, "orders")
    assert not records_pre_images(database, "city")


def test_collection_that_does_not_exist_yet(database: PlainDatabase, app: App) -> None:
    """It is created: its first document would come without them otherwise."""
    publish_app(app)
    assert records_pre_images(database, "orders")


def test_pre_images_that_are_on_stay_on(mongo_server: MongoServer, database: PlainDatabase, app: App) -> None:
    """Where somebody has switched them on, no right to do so is needed."""
    database.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    with refused(mongo_server, "collMod", "create", code=13):
        assert publish_app(app).number == 1


def test_without_the_right_nothing_is_published(mongo_server: MongoServer, database: PlainDatabase, app: App) -> None:
    """Without the right nothing is published, and the message has the command for whoever has it."""
    database.create_collection("orders")
    with refused(mongo_server, "collMod", code=13), pytest.raises(SourceUnusable, match='collMod: "orders"'):
        publish_app(app)
    assert not Version.objects.exists()
    assert publish_app(app).number == 1


def test_an_unreachable_source_prevents_the_publish(settings: Any, monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    """A source that is away is said to be, and nothing is published."""
    do_not_wait(monkeypatch)
    settings.CHANGESOURCE_SOURCES = {"default": f"mongodb://127.0.0.1:{free_port()}/shop"}
    with pytest.raises(SourceUnreachable):
        publish_app(app)
    assert not Version.objects.exists()


def test_a_source_of_which_nothing_is_needed_may_be_away(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft whose keys come from `_id` is published while the source is away, and the person is told."""
    do_not_wait(monkeypatch)
    settings.CHANGESOURCE_SOURCES = {"default": f"mongodb://127.0.0.1:{free_port()}/shop"}
    warnings: list[str] = []
    assert publish_app(build_app(), warn=warnings.append).number == 1
    [warning] = warnings
    assert "CS103" in warning


def test_problems_come_first(database: PlainDatabase, app: App) -> None:
    """A draft that cannot be published switches nothing on."""
    build_table(app, "my table", {"_id": {}})
    database.create_collection("orders")
    with pytest.raises(InvalidDefinition, match=r"my table\.name"):
        publish_app(app)
    assert not records_pre_images(database, "orders")


@pytest.mark.parametrize("change", ["another table", "another source"])
def test_a_draft_that_changes_meanwhile_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: Any, app: App, change: str
) -> None:
    """What needs pre-images that nobody has switched on is not published."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/a", "archive": "mongodb://localhost/b"}

    monkeypatch.setattr(publisher, "find_collection_problems", lambda _: CollectionProblems())

    def edit(*_: object) -> None:
        if change == "another table":
            build_items(app, "part", "parts")
        else:
            App.objects.update(source="archive")

    monkeypatch.setattr(publisher, "ask_source", edit)
    with pytest.raises(InvalidDefinition, match="Publish again"):
        publish_app(app)
    assert not Version.objects.exists()


def test_a_publish_without_pre_images_is_refused(settings: Any, app: App) -> None:
    """`begin_publish` alone does not let such a table through."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/a"}
    with pytest.raises(InvalidDefinition, match="pre-images of orders"):
        begin_publish(app)


async def test_a_running_loop_is_no_obstacle(
    database: PlainDatabase, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    """An event loop that runs in the thread does not keep it from publishing."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    app = build_app()
    build_items(app)
    assert publish_app(app).number == 1
    assert records_pre_images(database, "orders")


def test_a_view_is_refused(database: PlainDatabase, app: App) -> None:
    """A view has no change stream, so nothing is published, no pre-image is switched on, and the table is named."""
    database.create_collection("city", viewOn="orders", pipeline=[])
    database.create_collection("orders")
    with pytest.raises(InvalidDefinition, match=r"city\.collection: 'city' is a view, which has no change stream"):
        publish_app(app)
    assert not Version.objects.exists()
    assert not records_pre_images(database, "orders")


def test_a_time_series_collection_is_refused(database: PlainDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a time series collection, which the embedded MongoDB lists as an ordinary one."""

    async def kinds(*_: object) -> dict[str, str]:
        return {"city": "timeseries"}

    monkeypatch.setattr(publish_estimate, "collection_kinds", kinds)
    with pytest.raises(InvalidDefinition, match="is a time series collection"):
        publish_app(build_app())
    assert not Version.objects.exists()


def test_a_missing_collection_is_a_warning(database: PlainDatabase) -> None:
    """It may come later; the person who publishes is told of it, and of nothing else."""
    app = build_app()
    build_table(app, "land", {"_id": {}})
    database.create_collection("land")
    warnings: list[str] = []
    assert publish_app(app, warn=warnings.append).number == 1
    [warning] = warnings
    assert warning.startswith("city.collection: There is no collection 'city'")


@pytest.mark.parametrize(
    "failure", [{"errorCode": 13}, {"errorCode": 6}, {"blockConnection": True, "blockTimeMS": 2_000}]
)
def test_collections_that_cannot_be_listed_are_a_warning(
    mongo_server: MongoServer, database: PlainDatabase, monkeypatch: pytest.MonkeyPatch, failure: dict[str, Any]
) -> None:
    """A refusal, a server that is away and one that hangs are warnings, and do not stop a publish."""
    monkeypatch.setattr(publish_estimate, "ESTIMATE_SECONDS", 0.5)
    database.create_collection("city")
    warnings: list[str] = []
    started = time.monotonic()
    with failing(mongo_server, "listCollections", **failure):
        assert publish_app(build_app(), warn=warnings.append).number == 1
    assert time.monotonic() - started < 1.9
    [warning] = warnings
    assert "It is not known whether the collections exist" in warning
    assert "CS10" in warning


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("drops", "has_queries", "waits"),
    [("table", True, True), ("column", True, True), ("", True, False), ("table", False, False)],
)
def test_what_named_queries_may_read_goes_when_zero_cache_has_forgotten_them(
    database: PlainDatabase, monkeypatch: pytest.MonkeyPatch, drops: str, has_queries: bool, waits: bool
) -> None:
    """The version is stored before the wait, so that nothing more is answered with what goes, and its marker is written after
    it. A publish that takes nothing away, or an app without named queries, does not wait."""
    app = build_app()
    build_table(app, "town", {"_id": {}})
    app.queries = {"all": {"table": "city"}} if has_queries else {}
    app.save()
    publish_app(app)
    if drops == "table":
        app.tables.get(name="town").delete()
    elif drops == "column":
        app.tables.get(name="city").columns.get(name="name").delete()
    build_table(app, "village", {"_id": {}})
    stored: list[tuple[int, bool]] = []

    def sleep(seconds: float) -> None:
        if seconds == KEPT_SECONDS:
            pending = Version.objects.get(cluster_time=None)
            stored.append(
                (pending.number, database.zero_sources_markers.count_documents({"nonce": pending.nonce}) == 0)
            )

    monkeypatch.setattr(publisher.time, "sleep", sleep)
    assert publish_app(app).number == 2
    assert stored == ([(2, True)] if waits else [])
