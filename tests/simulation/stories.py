"""A world in which only happens what a test says, and a zero-cache that keeps what it was sent."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from typing import Any

from changesource.mongo.read_fields import EVERYTHING
from changesource.tables.definition import AppDefinition, Table
from tests.simulation.client_world import APP_ID, Done, World, ZeroCache, new_client


def definition_of(tables: Sequence[Table]) -> AppDefinition:
    return AppDefinition(APP_ID, "default", tuple(tables))


class Recorded(ZeroCache):
    """A zero-cache that keeps all frames that it was sent."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.frames: list[str] = []

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        self.frames += [frame.decode() for frame in frames]
        await super().send_frames(frames)

    def changes_of(self, table: str) -> Iterator[dict[str, Any]]:
        """Yields the messages about a table, without details of the schema."""
        for message in map(json.loads, self.frames):
            change = message[1]
            relation = change.get("relation") or change.get("table") or change.get("id") or {}
            if message[0] == "data" and relation.get("name") == table:
                yield {name: value for name, value in change.items() if name in ("tag", "new", "key")}


class Story(World):
    """A world without actions of its own. A scan calls the next one of `after_reading` after each
    document."""

    def __init__(self, *tables: Table) -> None:
        super().__init__(lambda values: values[0], new_client("tenant"), actions=0, first=definition_of(tables))
        self.after_reading: list[Callable[[], None]] = []

    def write(self, name: str = "x", **fields: Any) -> None:
        """Changes a document, with an event whose document has to be looked up."""
        before = self.documents.get(name)
        self.documents[name] = {**(before or {"_id": name}), **fields}
        self._add("thing", "upsert", name, None, before)

    def delete(self, name: str) -> None:
        self._add("thing", "delete", name, None, self.documents.pop(name))

    async def scan(
        self, database: Any, collection: str, fields: Collection[str] = EVERYTHING, *, with_one_of: Collection[str] = ()
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        async for documents in super().scan(database, collection, fields, with_one_of=with_one_of):
            yield documents
            if self.after_reading:
                self.after_reading.pop(0)()

    async def connect(self, cache: ZeroCache) -> None:
        self.idle = 0
        try:
            await cache.connect()
        except Done:
            return
