"""images.py: what is guaranteed of each published collection."""

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


async def test_recorded(database: Database) -> None:
    """Rows of a collection that records images are exact."""
    await enable_pre_images(database, ["city", "orders"])
    results = await check_images(database, [CITY, ORDERS])
    assert [(result.status, result.values["guarantee"]) for result in results] == [("ok", "exact")] * 2
    assert [result.name for result in results] == ["images of shop: city", "images of shop: orders"]


async def test_not_recorded(database: Database) -> None:
    """Without images rows have the latest state, which only a table that unwinds cannot live with."""
    await database.create_collection("orders")
    await database.create_collection("city")
    city, orders = await check_images(database, [CITY, ORDERS])
    assert (city.status, city.values["guarantee"]) == ("ok", "latest state")
    assert (orders.status, orders.values["is_needed"]) == ("error", True)
    assert "item need" in orders.text
    assert 'collMod: "orders"' in orders.remedy


async def test_view(database: Database) -> None:
    """A view has no change stream, so it cannot be a table."""
    await database.create_collection("city", viewOn="town", pipeline=[])
    [result] = await check_images(database, [CITY])
    assert (result.status, "a view" in result.text) == ("error", True)


async def test_missing_collection(database: Database) -> None:
    """It may come later, or its name is wrong."""
    [city] = await check_images(database, [CITY])
    assert city.status == "warning"
    assert "does not exist yet" in city.text


async def test_nothing_published(database: Database) -> None:
    """Then there is nothing to say of any collection."""
    [result] = await check_images(database, [])
    assert result.status == "ok"


async def test_user_who_may_not_list(as_user: AsUser) -> None:
    """What may not be looked at is unknown."""
    [result] = await check_images(as_user("nobody"), [CITY])
    assert result.status == "unknown"


async def test_interruption(mongo_server: MongoServer, database: Database) -> None:
    """A server that fails says nothing of collections."""
    async with fail_commands(mongo_server, "listCollections", errorCode=6):
        with pytest.raises(SourceUnreachable):
            await check_images(database, [CITY])
