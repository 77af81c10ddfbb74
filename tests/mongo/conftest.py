"""A database for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from changesource.mongo.source import Database
from tests.mongo.opening import open_database
from zerosources.embedded.servers import MongoServer

OPLOG_ENTRIES = 8_000
"""More than any test writes."""


@pytest.fixture(scope="session")
def mongo_server(run_dir: Path) -> Iterator[MongoServer]:
    """A server of this folder's own: it reads its whole oplog whenever a stream is opened, so that must stay short."""
    with MongoServer(run_dir / "mongodb-mongo", test_commands=True, oplog_max_entries=OPLOG_ENTRIES) as server:
        yield server


@pytest.fixture
async def database(mongo_server: MongoServer) -> AsyncIterator[Database]:
    async with open_database(mongo_server) as found:
        yield found
