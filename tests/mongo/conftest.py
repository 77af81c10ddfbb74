"""A database for each test."""

from collections.abc import AsyncIterator

import pytest

from changesource.mongo.source import Database
from tests.mongo.opening import open_database
from zerosources.embedded.servers import MongoServer


@pytest.fixture
async def database(mongo_server: MongoServer) -> AsyncIterator[Database]:
    async with open_database(mongo_server) as found:
        yield found
