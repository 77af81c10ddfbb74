"""Fixtures: a database, logs, and a change source with sessions for each test."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from changesource.models import App
from changesource.mongo.markers import write_marker
from changesource.mongo.source import Database, current_cluster_time
from changesource.protocol.watermarks import Position
from changesource.replication.source_identity import SourceIdentity
from tests.faults.sessions import ChangeSource, change_source
from tests.log.opening import RedisLogs
from tests.models.builders import build_app
from tests.mongo.opening import open_database
from tests.simulation.builders import APP_ID
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


@pytest.fixture
def app(mongo_server: MongoServer, settings: Any) -> App:
    uri = mongo_server.uri(f"sessions_{uuid.uuid4().hex[:12]}")
    settings.CHANGESOURCE_SOURCES = {"default": uri}
    return build_app()


@pytest.fixture
async def source(app: App, settings: Any) -> AsyncIterator[ChangeSource]:
    async with change_source(settings.CHANGESOURCE_SOURCES["default"], app, heartbeat_seconds=0.1) as source:
        await source.database.city.insert_one({"_id": 1, "name": "Bern"})
        yield source


@pytest.fixture
def any_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every check of a source's identity pass."""

    async def pass_it(*arguments: Any) -> None:
        return None

    monkeypatch.setattr(SourceIdentity, "check", pass_it)
