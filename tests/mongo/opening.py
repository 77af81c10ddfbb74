"""Databases of the embedded MongoDB, as the product opens them."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pymongo.errors import PyMongoError

from changesource.mongo.source import Database, Sources
from zerosources.embedded.servers import MongoServer


@asynccontextmanager
async def open_database(server: MongoServer) -> AsyncIterator[Database]:
    """Opens a database with a new name, which is dropped at the end if the client can still reach
    it."""
    sources = Sources({"default": server.uri(f"test_{uuid.uuid4().hex[:12]}")})
    database = sources.database("default")
    try:
        yield database
        with suppress(PyMongoError):
            await database.client.drop_database(database.name)
    finally:
        await sources.close()


class AskedDatabase:
    """Wraps `database`, and keeps the commands that it is asked to run."""

    def __init__(self, database: Database) -> None:
        self.commands: list[Any] = []
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def command(self, command: Any, *arguments: Any, **options: Any) -> Any:
        self.commands.append(command)
        return await self._database.command(command, *arguments, **options)
