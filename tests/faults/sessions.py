"""A change source within the test's process: the real service, watcher and sessions over a real MongoDB, and replicas that
take what the sessions send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from asgiref.sync import sync_to_async

from changesource.conf import ChangeSourceSettings
from changesource.models import App, Client
from changesource.models.queries.clients import Identity
from changesource.mongo.source import Database
from changesource.operations.publisher import publish_app
from changesource.protocol.closing import Closing
from changesource.protocol.requests import Resume, StreamRequest
from changesource.protocol.watermarks import Position
from changesource.service import StreamService
from changesource.sessions.session import Session
from changesource.tables.compiled_table import CompiledTable
from tests.models.builders import set_grant

SOON_SECONDS = 30.0

Tables = dict[str, dict[str, dict[str, Any]]]
"""Rows by table and by their keys' JSON."""


class ChangeSource:
    """One published app, one client that may read all of it, and one process that watches and serves."""

    def __init__(self, service: StreamService, app: App, client: Client) -> None:
        self.service = service
        self.app = app
        self.client = client

    @property
    def database(self) -> Database:
        return self.service.sources.database("default")

    def session(self, replica: Replica, shard_num: int = 0) -> Session:
        """One connection of the replica's zero-cache: a snapshot if the replica has nothing, else from where it is."""
        resume = None
        if replica.watermark is not None:
            assert replica.replica_version is not None
            resume = Resume(replica.watermark, replica.replica_version)
        request = StreamRequest(self.app.app_id, shard_num, (), resume)
        return Session(self.service, request, Identity(self.client.pk, self.client.name), replica, lambda how: None)

    async def take_snapshot(self, replica: Replica, shard_num: int = 0) -> Closing | None:
        replica.connect(self.session(replica, shard_num))
        return await replica.session.run()

    @asynccontextmanager
    async def streaming(self, replica: Replica, shard_num: int = 0) -> AsyncIterator[None]:
        """The replica follows meanwhile."""
        replica.connect(self.session(replica, shard_num))
        task = asyncio.create_task(replica.session.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            raise AssertionError(f"The stream has ended: {task.result()}")

    async def expected(self) -> Tables:
        """What the published tables are of the documents that are there now."""
        definition = self.service.published(self.app.app_id).definition  # type: ignore[union-attr]
        found: Tables = {}
        for each in definition.tables:
            table = CompiledTable(each)
            rows = [row async for document in self.database[each.collection].find() for row in table.rows(document, [])]
            found[table.name] = {key_of(row, each.primary_key): dict(row) for row in rows}
        return found


@asynccontextmanager
async def change_source(uri: str, app: App, row_filters: str = "{}", **settings: Any) -> AsyncIterator[ChangeSource]:
    """`app` is a draft, which is published. Settings are those of `ChangeSourceSettings`."""

    def prepare() -> Client:
        publish_app(app)
        client = Client.objects.create_for_apps("zero-cache", [app])
        client.accepts_jwt = True  # so that it needs no credential
        client.save()
        set_grant(client, row_filters=row_filters)
        return client

    client = await sync_to_async(prepare)()
    service = StreamService(ChangeSourceSettings(sources={"default": uri}, **settings))
    await service.start(watch=True)
    source = ChangeSource(service, app, client)
    try:
        yield source
    finally:
        await source.database.client.drop_database(source.database.name)
        await service.stop()


class Replica:
    """What a zero-cache makes of frames. A snapshot that does not end leaves nothing, a transaction neither.

    Attributes:
        tables: the committed rows.
        commits: how many transactions with changes there were; `empty_commits`: and without.
        rows_taken: how many rows came, over all connections, committed or not.
        on_frames: happens before frames are taken; what it raises breaks the connection.
    """

    session: Session

    def __init__(self) -> None:
        self.tables: Tables = {}
        self.watermark: Position | None = None
        self.replica_version: Position | None = None
        self.commits = self.empty_commits = 0
        self.rows_taken = 0
        self.on_frames: Callable[[], Awaitable[None]] | None = None
        self._open: Tables | None = None
        self._keys: dict[str, list[str]] = {}
        self._changed = asyncio.Event()

    def connect(self, session: Session) -> None:
        self.session = session
        self._open = None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition holds; looks after each commit."""
        async with asyncio.timeout(SOON_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_equal(self, source: ChangeSource) -> None:
        """Nothing may be writing any more."""
        expected = await source.expected()
        await self.until(lambda: self.published == expected)

    @property
    def published(self) -> Tables:
        """Without Zero's own tables."""
        return {name: rows for name, rows in self.tables.items() if not self._is_zeros(name)}

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        """As an outlet of the session."""
        if self.on_frames is not None:
            await self.on_frames()
        for frame in frames:
            self._take(json.loads(frame))

    def _take(self, message: list[Any]) -> None:
        match message[0]:
            case "begin":
                assert self._open is None
                self._open = {name: dict(rows) for name, rows in self.tables.items()}
                self._has_changes = False
            case "rollback":
                self._open = None
            case "data":
                assert self._open is not None
                self._has_changes = True
                self._change(self._open, message[1])
            case "commit":
                self._commit(Position.from_watermark(message[2]["watermark"]))
            case _:
                raise AssertionError(message)

    def _commit(self, position: Position) -> None:
        assert self._open is not None
        assert self.watermark is None or self.watermark < position
        self.tables, self._open = self._open, None
        self.watermark = position
        self.replica_version = self.replica_version or position
        self.commits += self._has_changes
        self.empty_commits += not self._has_changes
        self._changed.set()
        self.session.receive(json.dumps(["status", {}, {"watermark": position.watermark}]))

    def _change(self, tables: Tables, change: dict[str, Any]) -> None:
        relation = change.get("relation", {})
        name = relation.get("name", "")
        match change["tag"]:
            case "create-table":
                tables[change["spec"]["name"]] = {}
                self._keys[change["spec"]["name"]] = change["spec"]["primaryKey"]
            case "create-index":
                pass
            case "insert":
                tables[name][key_of(change["new"], self._keys[name])] = change["new"]
                self.rows_taken += not self._is_zeros(name)
            case "backfill":
                names = [*relation["rowKey"]["columns"], *change["columns"]]
                for values in change["rowValues"]:
                    row = dict(zip(names, values, strict=True))
                    tables[name][key_of(row, self._keys[name])] = row
                    self.rows_taken += 1
            case "delete":
                tables[name].pop(key_of(change["key"], self._keys[name]), None)
            case "truncate":
                for each in change["relations"]:
                    tables[each["name"]].clear()
            case tag:
                raise AssertionError(tag)

    def _is_zeros(self, name: str) -> bool:
        return name.endswith(("clients", "mutations", "permissions"))


class ToldReplica(Replica):
    """One that also takes what it is told besides changes."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.get_running_loop().create_future()

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        message = json.loads(frames[0])
        if message[0] == "control":
            self.told.set_result(message[1])
        else:
            await super().send_frames(frames)


def key_of(row: dict[str, Any], key: Sequence[str]) -> str:
    return json.dumps([row[column] for column in key])
