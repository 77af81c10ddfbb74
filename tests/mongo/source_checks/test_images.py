"""images.py: the guarantee for the rows of each published collection."""

import pytest

from changesource.errors import SourceUnreachable
from changesource.mongo.pre_images import enable_pre_images
from changesource.mongo.source import Database
from changesource.mongo.source_checks.images import check_images
from changesource.mongo.source_checks.results import PublishedCollection
from tests.mongo.failing import fail_commands
from tests.mongo.source_checks.conftest import AsUser
from zerosources.embedded.servers import MongoServer

CITY = PublishedCollection("shop", "city", ["city", "town"])
ORDERS = PublishedCollection("shop", "orders", ["order", "item"], unwinding=["item"])


async def test_rows_are_exact_if_images_are_recorded(database: Database) -> None:
    await enable_pre_images(database, ["city", "orders"])
    results = await check_images(database, [CITY, ORDERS])
    assert [(result.status, result.values["guarantee"]) for result in results] == [("ok", "exact")] * 2
    assert [result.name for result in results] == ["images of shop: city", "images of shop: orders"]


async def test_rows_have_the_latest_state_if_no_images_are_recorded(database: Database) -> None:
    """Only a table that unwinds an array cannot do without images."""
    await database.create_collection("orders")
    await database.create_collection("city")
    city, orders = await check_images(database, [CITY, ORDERS])
    assert (city.status, city.values["guarantee"]) == ("ok", "latest state")
    assert (orders.status, orders.values["is_needed"]) == ("error", True)
    assert "each change: item" in orders.text
    assert 'collMod: "orders"' in orders.remedy


async def test_a_view_is_an_error(database: Database) -> None:
    """It has no change stream."""
    await database.create_collection("city", viewOn="town", pipeline=[])
    [result] = await check_images(database, [CITY])
    assert (result.status, "a view" in result.text) == ("error", True)


async def test_a_missing_collection_is_a_warning(database: Database) -> None:
    """It may be created later, or its name is wrong."""
    [city] = await check_images(database, [CITY])
    assert city.status == "warning"
    assert "does not exist yet" in city.text


async def test_without_published_collections_there_is_one_result(database: Database) -> None:
    [result] = await check_images(database, [])
    assert result.status == "ok"


async def test_images_are_unknown_if_collections_may_not_be_listed(as_user: AsUser) -> None:
    [result] = await check_images(as_user("nobody"), [CITY])
    assert result.status == "unknown"


async def test_an_interruption_is_raised(mongo_server: MongoServer, database: Database) -> None:
    async with fail_commands(mongo_server, "listCollections", errorCode=6):
        with pytest.raises(SourceUnreachable):
            await check_images(database, [CITY])
