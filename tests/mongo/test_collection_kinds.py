"""collection_kinds.py: which names stand for collections that have a change stream."""

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from changesource.errors import SourceUnreachable, SourceUnusable
from changesource.mongo.collection_kinds import collection_kinds
from changesource.mongo.source import Database
from tests.mongo.failing import fail_commands
from zerosources.embedded.servers import MongoServer


async def test_kinds(database: Database) -> None:
    """A collection and a view are told apart, and what does not exist is left out."""
    await database.create_collection("town")
    await database.create_collection("city", viewOn="town", pipeline=[])
    await database.create_collection("other")
    assert await collection_kinds(database, ["city", "town", "missing"]) == {"city": "view", "town": "collection"}


class ListingDatabase:
    """A database that lists what it is told to, as a server with time series collections does."""

    def __init__(self, *listed: dict[str, Any]) -> None:
        self._listed = listed
        self.options: dict[str, Any] = {}

    async def list_collections(self, **options: Any) -> AsyncIterator[dict[str, Any]]:
        self.options = options

        async def found() -> AsyncIterator[dict[str, Any]]:
            for each in self._listed:
                yield each

        return found()


async def test_time_series() -> None:
    """MongoDB names them so, also when names alone are asked for, which takes no right of its own."""
    database = ListingDatabase({"name": "weather", "type": "timeseries"})
    assert await collection_kinds(cast(Database, database), ["weather"]) == {"weather": "timeseries"}
    assert (database.options["nameOnly"], database.options["authorizedCollections"]) == (True, True)


@pytest.mark.parametrize(("code", "error"), [(13, SourceUnusable), (6, SourceUnreachable)])
async def test_failure(mongo_server: MongoServer, database: Database, code: int, error: type[Exception]) -> None:
    """A refusal is told from a server that is away."""
    async with fail_commands(mongo_server, "listCollections", errorCode=code):
        with pytest.raises(error):
            await collection_kinds(database, ["city"])
