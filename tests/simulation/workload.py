"""Writers that keep the embedded MongoDB busy, partly in multi-document transactions."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from changesource.mongo.source import Database

LONE = ("city", "river")
PAIRED = ("left", "right")
"""Written by transactions only. Each replaces whole documents in both, so both are equal after
every transaction."""
COLLECTIONS = (*LONE, *PAIRED)
IDS = 12


class Workload:
    """Random writes in a task of its own, within the `async with` block.

    Attributes:
        transactions: the names of the MongoDB transactions that were committed.
    """

    def __init__(self, database: Database, seed: int = 1) -> None:
        self._database = database
        self._random = random.Random(seed)
        self._seed = seed
        self._number = 0
        self._stops = False
        self._task: asyncio.Task[None] | None = None
        self.transactions: list[str] = []

    async def __aenter__(self) -> "Workload":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        self._stops = True
        assert self._task is not None
        await self._task

    async def write(self, count: int) -> None:
        """Makes this many writes or transactions."""
        for _ in range(count):
            await self._write()

    async def _run(self) -> None:
        while not self._stops:
            await self._write()
            await asyncio.sleep(self._random.random() * 0.01)

    async def _write(self) -> None:
        self._number += 1
        if self._random.random() < 0.4:
            await self._write_pairs(f"{self._seed}.{self._number}")
        else:
            await self._write_one()

    async def _write_one(self) -> None:
        collection = self._database[self._random.choice(LONE)]
        if self._random.random() < 0.4:
            await collection.insert_one({"_id": f"{self._seed}.{self._number}", "value": self._number})
            return
        identity = {"_id": self._random.choice(["a", 0.5, *range(1, IDS)])}
        value = [self._seed, self._number]
        match self._random.randrange(5):
            case 0:
                await collection.delete_one(identity)
            case 1:
                await collection.replace_one(identity, {**identity, "value": value}, upsert=True)
            case _:
                await collection.update_one(identity, {"$set": {"value": value}}, upsert=True)

    async def _write_pairs(self, name: str) -> None:
        """Replaces, or sometimes deletes, the same documents in both collections, and adds one to
        each."""
        ids = self._random.sample(range(IDS), self._random.randint(1, 5))
        deletes = self._random.random() < 0.2

        async def write(session: AsyncClientSession) -> None:
            for collection in PAIRED:
                for number in ids:
                    await write_one(session, collection, number)
                await self._database[collection].insert_one({"_id": name, "value": name}, session=session)

        async def write_one(session: AsyncClientSession, collection: str, number: int) -> None:
            found: Any = self._database[collection]
            if deletes:
                await found.delete_one({"_id": number}, session=session)
            else:
                document = {"_id": number, "value": name}
                await found.replace_one({"_id": number}, document, upsert=True, session=session)

        async with self._database.client.start_session() as session:
            try:
                await session.with_transaction(write)
            except OperationFailure as error:
                if not error.has_error_label("TransientTransactionError"):
                    raise
            else:
                self.transactions.append(name)


@asynccontextmanager
async def several(database: Database, count: int, seed: int = 0) -> AsyncIterator[list[Workload]]:
    """Runs this many workloads at once."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Workload(database, seed * 100 + number)) for number in range(count)]


async def contents(database: Database) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the rows that a replica has when it is up to date."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    for name in COLLECTIONS:
        documents = await database[name].find().to_list()
        found = [{"_id": str(document["_id"]), "value": json_text(document.get("value"))} for document in documents]
        rows[name] = {json.dumps(row["_id"]): row for row in found}
    return rows


def json_text(value: object) -> str | None:
    return None if value is None else json.dumps(value, separators=(",", ":"))
