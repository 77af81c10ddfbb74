"""Databases of the embedded MongoDB, as the product opens them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from changesource.mongo.source import Database, Sources
from zerosources.embedded.servers import MongoServer


@asynccontextmanager
async def open_database(server: MongoServer) -> AsyncIterator[Database]:
    """A database by a name of its own; it is dropped in the end."""
    sources = Sources({"default": server.uri(f"test_{uuid.uuid4().hex[:12]}")})
    database = sources.database("default")
    try:
        yield database
        await database.client.drop_database(database.name)
    finally:
        await sources.close()
