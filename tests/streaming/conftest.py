"""A database and a log for each test."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from changesource.mongo.markers import write_marker
from changesource.mongo.source import Database, current_cluster_time
from changesource.protocol.watermarks import Position
from tests.log.opening import RedisLogs
from tests.mongo.opening import open_database
from tests.streaming.builders import APP_ID
from zerosources.embedded.servers import MongoServer, ValkeyServer


@pytest.fixture
async def database(mongo_server: MongoServer) -> AsyncIterator[Database]:
    async with open_database(mongo_server) as found:
        yield found


@pytest.fixture
async def start(database: Database) -> Position:
    """A position before everything that the test writes."""
    await write_marker(database, APP_ID, "heartbeat")
    return Position(await current_cluster_time(database))


@pytest.fixture
async def redis_logs(valkey_server: ValkeyServer, settings: Any) -> AsyncIterator[RedisLogs]:
    async with RedisLogs(valkey_server.url, settings) as logs:
        yield logs
