"""queries/published.py: which version of which app is in force."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext

from changesource.models import App, queries
from changesource.models.database_threads import STREAMS
from tests.models.builders import build_app, build_table, publish

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def default_source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def app() -> App:
    return build_app()


def queries_of(coroutine) -> int:
    """How many queries the database thread runs for `coroutine`."""

    async def count() -> int:
        def start() -> CaptureQueriesContext:
            return CaptureQueriesContext(connection).__enter__()

        captured = await STREAMS.ask(start)
        await coroutine
        return await STREAMS.ask(lambda: len(captured))

    return asyncio.run(count())


async def test_an_app_without_a_version_is_not_published(app: App) -> None:
    """An app that was never published does not stream."""
    assert await queries.published.published_apps() == {}


async def test_each_app_has_its_newest_version(app: App) -> None:
    """Each app has its newest version, with the definition that was published."""
    await sync_to_async(publish)(app)
    assert (await queries.published.published_apps())["shop"].number == 1
    await sync_to_async(build_table)(app, "country", {"_id": {}})
    version = await sync_to_async(publish)(app)
    published = (await queries.published.published_apps())["shop"]
    assert (published.app_id, published.number) == ("shop", 2)
    assert published.definition == version.to_definition()


async def test_only_the_apps_asked_for_are_returned(app: App) -> None:
    """With app ids, other apps are left out, and unknown ones are missing."""
    await sync_to_async(publish)(app)
    await sync_to_async(lambda: publish(build_app("other")))()
    assert set(await queries.published.published_apps()) == {"shop", "other"}
    assert set(await queries.published.published_apps(["other", "nope"])) == {"other"}


def test_known_definitions_are_not_read_again(app: App) -> None:
    """Polling costs one query while nothing is published."""
    publish(app)
    asyncio.run(queries.published.published_apps())
    assert queries_of(queries.published.published_apps()) == 1


async def test_an_app_that_is_created_again_is_another_app(app: App) -> None:
    """Version 1 of an app that was deleted is not taken for version 1 of its successor."""
    await sync_to_async(publish)(app)
    await queries.published.published_apps()

    def recreate() -> None:
        app.delete()
        successor = build_app()
        build_table(successor, "successor", {"_id": {}})
        publish(successor)

    await sync_to_async(recreate)()
    assert (await queries.published.published_apps())["shop"].definition.tables[1].name == "successor"
