"""publisher.py: a publish sees to the pre-images that the draft needs; one that fails changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

from changesource.errors import InvalidDefinition, SourceUnreachable, SourceUnusable
from changesource.models import App, Version
from changesource.mongo import source
from changesource.publishing.versions import begin_publish
from changesource.streaming import publisher
from changesource.streaming.publisher import publish_app
from tests.models.builders import build_app, build_table
from tests.streaming.sources import ITEMS, PlainDatabase, default_source, records_pre_images, refused
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


def test_switched_on(database: PlainDatabase, app: App) -> None:
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


def test_on_already(mongo_server: MongoServer, database: PlainDatabase, app: App) -> None:
    """Where somebody has switched them on, no right to do so is needed."""
    database.create_collection("orders", changeStreamPreAndPostImages={"enabled": True})
    with refused(mongo_server, "collMod", "create", code=13):
        assert publish_app(app).number == 1


def test_not_allowed(mongo_server: MongoServer, database: PlainDatabase, app: App) -> None:
    """Without the right nothing is published, and the message has the command for whoever has it."""
    database.create_collection("orders")
    with refused(mongo_server, "collMod", code=13), pytest.raises(SourceUnusable, match='collMod: "orders"'):
        publish_app(app)
    assert not Version.objects.exists()
    assert publish_app(app).number == 1


def test_unreachable(settings: Any, monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    """A source that is away is said to be, and nothing is published."""
    monkeypatch.setattr(source, "SERVER_SELECTION_TIMEOUT_MS", 100)
    settings.CHANGESOURCE_SOURCES = {"default": f"mongodb://127.0.0.1:{free_port()}/shop"}
    with pytest.raises(SourceUnreachable):
        publish_app(app)
    assert not Version.objects.exists()


def test_source_is_not_asked_without_need(settings: Any) -> None:
    """A draft whose keys come from `_id` is published while the source is away."""
    settings.CHANGESOURCE_SOURCES = {"default": f"mongodb://127.0.0.1:{free_port()}/shop"}
    assert publish_app(build_app()).number == 1


def test_problems_come_first(database: PlainDatabase, app: App) -> None:
    """A draft that cannot be published switches nothing on."""
    build_table(app, "my table", {"_id": {}})
    database.create_collection("orders")
    with pytest.raises(InvalidDefinition, match=r"my table\.name"):
        publish_app(app)
    assert not records_pre_images(database, "orders")


@pytest.mark.parametrize("change", ["another table", "another source"])
def test_draft_that_changes_meanwhile(monkeypatch: pytest.MonkeyPatch, settings: Any, app: App, change: str) -> None:
    """What needs pre-images that nobody has switched on is not published."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/a", "archive": "mongodb://localhost/b"}

    def edit(*_: object) -> None:
        if change == "another table":
            build_items(app, "part", "parts")
        else:
            App.objects.update(source="archive")

    monkeypatch.setattr(publisher, "ask_source", edit)
    with pytest.raises(InvalidDefinition, match="Publish again"):
        publish_app(app)
    assert not Version.objects.exists()


def test_publish_without_pre_images(settings: Any, app: App) -> None:
    """`begin_publish` alone does not let such a table through."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/a"}
    with pytest.raises(InvalidDefinition, match="pre-images of orders"):
        begin_publish(app)


async def test_beside_a_running_loop(
    database: PlainDatabase, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    """An event loop that runs in the thread does not keep it from publishing."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    app = build_app()
    build_items(app)
    assert publish_app(app).number == 1
    assert records_pre_images(database, "orders")
