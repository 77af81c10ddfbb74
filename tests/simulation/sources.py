"""Databases of the embedded MongoDB for synchronous code."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pymongo
from pymongo.database import Database

from changesource.mongo.source import APP_NAME
from tests.given_mongodb import FAIL_POINTS, skip_if_given
from zerosources.embedded.servers import MongoServer

PlainDatabase = Database[dict[str, Any]]

ITEMS = '{"pipeline": [{"$unwind": "$items"}, {"$project": {"_id": 0, "sku": "$items.sku", "order": "$_id"}}]}'
"""The mapping of a table that needs pre-images."""


@contextmanager
def default_source(server: MongoServer, settings: Any) -> Iterator[PlainDatabase]:
    """Yields a new database, which is the source `default`."""
    uri = server.uri(f"test_{uuid.uuid4().hex[:12]}")
    settings.CHANGESOURCE_SOURCES = {"default": uri}
    with pymongo.MongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        yield database
        client.drop_database(database.name)


def refused(server: MongoServer, *commands: str, code: int) -> AbstractContextManager[None]:
    """Makes the commands fail for the product's clients, with this code."""
    return failing(server, *commands, errorCode=code)


@contextmanager
def failing(server: MongoServer, *commands: str, **how: Any) -> Iterator[None]:
    """Makes the commands fail for the product's clients. `how` is in the terms of MongoDB's fail
    points."""
    skip_if_given(FAIL_POINTS)
    data = {"failCommands": list(commands), "appName": APP_NAME, **how}
    with pymongo.MongoClient[dict[str, Any]](server.uri()) as client:
        client.admin.command({"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": data})
        try:
            yield
        finally:
            client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def records_pre_images(database: PlainDatabase, collection: str) -> bool:
    [found] = database.list_collections(filter={"name": collection})
    return bool(found["options"].get("changeStreamPreAndPostImages", {}).get("enabled"))
