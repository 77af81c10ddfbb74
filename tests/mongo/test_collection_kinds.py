"""collection_kinds.py: which names are of collections that have a change stream."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from changesource.errors import SourceUnreachable, SourceUnusable
from changesource.mongo.collection_kinds import collection_kinds
from changesource.mongo.source import Database
from tests.mongo.failing import fail_commands
from zerosources.embedded.servers import MongoServer


async def test_collections_and_views_are_told_apart(database: Database) -> None:
    """Names that do not exist are left out."""
    await database.create_collection("town")
    await database.create_collection("city", viewOn="town", pipeline=[])
    await database.create_collection("other")
    assert await collection_kinds(database, ["city", "town", "missing"]) == {"city": "view", "town": "collection"}


class ListingDatabase:
    """A database with a prescribed list of collections, as of a server with time series
    collections."""

    def __init__(self, *listed: dict[str, Any]) -> None:
        self._listed = listed
        self.options: dict[str, Any] = {}

    async def list_collections(self, **options: Any) -> AsyncIterator[dict[str, Any]]:
        self.options = options

        async def found() -> AsyncIterator[dict[str, Any]]:
            for each in self._listed:
                yield each

        return found()


async def test_time_series_collections_are_named_as_such() -> None:
    """Even if only names are requested, which takes no right of its own."""
    database = ListingDatabase({"name": "weather", "type": "timeseries"})
    assert await collection_kinds(cast(Database, database), ["weather"]) == {"weather": "timeseries"}
    assert (database.options["nameOnly"], database.options["authorizedCollections"]) == (True, True)


@pytest.mark.parametrize(("code", "error"), [(13, SourceUnusable), (6, SourceUnreachable)])
async def test_a_refusal_is_told_from_an_unreachable_server(
    mongo_server: MongoServer, database: Database, code: int, error: type[Exception]
) -> None:
    async with fail_commands(mongo_server, "listCollections", errorCode=code):
        with pytest.raises(error):
            await collection_kinds(database, ["city"])
