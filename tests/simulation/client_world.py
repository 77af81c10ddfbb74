"""A source, an app and a client's grant that all change at any moment, and the product's own
sessions over them.

The source and its change stream are in memory. The grant, its access versions and the replicas are
in the Django database.
"""

import copy
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from django.db import connections

from changesource.conf import ChangeSourceSettings
from changesource.errors import SourceUnreachable
from changesource.log.entries import Entry
from changesource.models import App, Client, Version, queries
from changesource.models.database_threads import DatabaseThread
from changesource.models.queries.access import ClientInApp, Entitlements
from changesource.models.queries.clients import Identity
from changesource.models.queries.published import PublishedApp, StoredVersion
from changesource.mongo.change_stream import Batch
from changesource.mongo.events import ChangeEvent
from changesource.mongo.markers import MARKERS_COLLECTION, AccessMarker
from changesource.mongo.read_fields import EVERYTHING, Projection, projection_for
from changesource.mongo.source import SourceReport
from changesource.protocol import closing
from changesource.protocol.requests import Resume, StreamRequest
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import Access, ClientView
from changesource.publishing.compiled import CompiledVersion
from changesource.replication import entry_reader, lookups, renderer, source_identity
from changesource.replication.app_source import AppSource
from changesource.replication.entry_reader import EntryReader
from changesource.replication.readings import Reading
from changesource.replication.version_history import VersionHistory
from changesource.sessions import barrier, client_access, row_loader, session, snapshot, source_clock
from changesource.sessions.session import Session
from changesource.sessions.transactions import TransactionSender
from changesource.tables.definition import AppDefinition, Column, Table
from tests.simulation.projecting import choose_projection, projected
from tests.simulation.row_errors import FoundErrors

APP_ID = "shop"
BEGIN = 1_700_000_000 << 32
IDS = ("x", "y", "z")
TENANTS = ("a", "b", None)
NUMBERS: Sequence[dict[str, Any]] = ({"n": 1}, {"n": 2}, {"n": 3}, {"n": None}, {})

ATTRIBUTES: Sequence[dict[str, Any]] = ({"t": "a"}, {"t": "b"}, {}, {"t": 1}, {"t": True})
FILTERS: Sequence[dict[str, Any]] = (
    {},
    {"city": {"tenant": "$client.t"}},
    {"city": {"tenant": {"$ne": "$client.t"}}},
    {"city": {"n": {"$gte": 2}}},
    {"city": {"tenant": "a"}, "river": {"$client.t": 1}},
    {"river": {"$client.t": True}},
    {"city": {}},
    {"lake": {}, "city": {"tenant": "$client.t"}},
)
HALF_COMPUTED = '{"projection": {"tenant": 1, "owner": 1, "n": {"$divide": [6, {"$subtract": ["$n", 2]}]}}}'
"""A document with 2 as `n` has no row in a table with the column, and has one in a table without
it."""

GRANTED: Sequence[list[str] | None] = (None, ["city"], ["river"], ["city", "lake"], [])

FEW_PUBLISHES = ("nothing", "document", "document", "grant", "attributes", "publish", "tick", "tick", "elsewhere")
MANY_PUBLISHES = ("nothing", *("document",) * 6, "publish", "tick")
"""The kinds of what may happen next."""


class BrokeOff(Exception):
    """The connection has broken off."""


class Done(Exception):
    """Nothing more happens, and everything has been read."""


def nonce_of_version(number: int) -> str:
    """Returns the nonce of the marker with which the version begins."""
    return f"{number:032x}"


def definition(draw: Any) -> AppDefinition:
    """Draws a version of the app: names of tables, filter columns, mappings, columns and rules
    differ, and tables may be gone."""
    any_of = lambda *values: draw(values)  # noqa: E731
    with_n = any_of(True, True, False)
    tenant, owner = Column("tenant", "string", optional=True), Column("owner", "string", optional=True)
    if any_of(False, False, True):
        tenant, owner = replace(tenant, server_name="owner"), replace(owner, server_name="tenant")
    city = Table(
        "city",
        (Column("_id", "string"), tenant, owner, *([Column("n", "number", optional=True)] if with_n else [])),
        ("_id",),
        collection=any_of("thing", "thing", "thing", "stuff"),
        mapping=any_of("", "", '{"filter": {"n": {"$gt": 1}}}'),
        permissions=any_of("", '{"select": [{"tenant": "$auth.sub"}]}'),
        filter_columns=any_of(("tenant",), ("tenant", "n") if with_n else ("tenant",), ()),
    )
    river = Table(
        any_of("river", "river", "lake"), (Column("_id", "string"),), ("_id",), server_name="river", collection="thing"
    )
    tables = any_of((city, river), (city, river), (city,), (river,))
    return AppDefinition(APP_ID, "default", tables)


def changed(draw: Any, app: AppDefinition) -> AppDefinition:
    """Returns `app` with one optional column more or less and other indexes in its first table;
    sometimes with a mapping for which the column cannot be computed, or without filter columns."""
    city, *others = app.tables
    if city.name != "city":
        return definition(draw)
    columns = [column for column in city.columns if column.name != "n"]
    if len(columns) == len(city.columns):
        columns.append(Column("n", "number", optional=True))
    names = [column.name for column in columns]
    indexes = draw(((), (("tenant",),), (("owner", "tenant"), ("owner",)), (("n", "tenant"),)))
    others_of = ({"mapping": HALF_COMPUTED}, {"mapping": ""}, {"filter_columns": ()}, {"collection": "thing"})
    changes: dict[str, Any] = draw(({},) * 8 + others_of)
    city = replace(
        city,
        columns=tuple(columns),
        filter_columns=tuple(name for name in city.filter_columns if name in names),
        indexes=tuple(index for index in indexes if set(index) <= set(names)),
    )
    return replace(app, tables=(replace(city, **changes), *others))


class World(VersionHistory):
    """Everything outside of the sessions: documents, events, versions and the grant. It is also the
    sessions' history.

    `draw` takes one of several values. At most `actions` things happen by themselves, and then
    everything comes to rest. With `has_filters`, the grant always has row filters or a list of
    tables. With `has_small_changes`, most versions are the previous one with other columns and
    indexes.
    """

    def __init__(
        self,
        draw: Any,
        client: Client,
        actions: int,
        *,
        has_filters: bool = False,
        has_small_changes: bool = False,
        first: AppDefinition | None = None,
    ) -> None:
        super().__init__(APP_ID)
        self.draw = draw
        self.client = client
        self.actions = actions
        self.key = ClientInApp(client.pk, APP_ID)
        self.documents: dict[str, dict[str, Any]] = {}
        self.events: list[ChangeEvent] = []
        self.versions: list[StoredVersion] = []
        self.compiled: dict[int, CompiledVersion] = {}
        self.has_filters = has_filters
        self.has_small_changes = has_small_changes
        self.named: set[tuple[str, str]] = set()
        """Names of tables, each with the collection that it read when a grant that names it was
        saved."""
        self._store(first or definition(draw), 0)
        if has_filters:
            self._change_grant()
        self.seen: Entitlements | None = None
        self.idle = 0
        self.sender: TransactionSender | None = None
        self.session: Session | None = None

    # What happens

    async def act(self) -> None:
        """Lets something happen, or nothing."""
        if self.actions <= 0:
            return
        kind = self.draw(FEW_PUBLISHES if not self.has_small_changes else MANY_PUBLISHES)
        self.actions -= kind != "nothing"
        if kind == "document":
            self._write_document()
        elif kind == "grant":
            self._change_grant()
        elif kind == "attributes":
            self.client.attributes = self.draw(ATTRIBUTES)
            self.client.save()
        elif kind == "publish":
            self._publish()
        elif kind == "tick":
            await self.tick()
        elif kind == "elsewhere":
            await self._apply_grant_elsewhere()

    def _change_grant(self) -> None:
        grant = self.client.grants.get()
        granted = self.draw(GRANTED)
        grant.all_tables, grant.tables = granted is None, granted or []
        grant.row_filters = json.dumps(self.draw(FILTERS[1:] if self.has_filters else FILTERS))
        grant.save()
        names = json.loads(grant.row_filters) if grant.all_tables else grant.tables
        streams = self.compiled[len(self.versions)].definition.tables
        self.named |= {(table.name, table.collection) for table in streams if table.name in names}

    async def _apply_grant_elsewhere(self) -> None:
        """Lets a session of another shard notice the change first, and perhaps meet its marker
        first."""
        await queries.access.begin_access(self.key)
        newest = (await queries.access.access_versions(self.key))[-1]
        if newest.cluster_time is None:
            self.mark_access(AccessMarker(self.client.pk, newest.nonce))
            if self.draw((False, True)):
                await queries.access.confirm_access(newest.nonce, self.now)

    async def tick(self) -> None:
        """Does what each process does once a second."""
        found = (await queries.access.read_entitlements([self.client.pk])).get(self.key)
        self.seen = self.seen if self.seen == found else found

    def _write_document(self) -> None:
        name = self.draw(IDS)
        before = self.documents.get(name)
        if before is not None and self.draw((False, True)):
            after = None
            del self.documents[name]
        else:
            numbers = NUMBERS if self.has_small_changes else NUMBERS[:3]
            after = {"_id": name, "tenant": self.draw(TENANTS), "owner": self.draw(TENANTS), **self.draw(numbers)}
            self.documents[name] = after
        is_looked_up = after is not None and before is not None and self.draw((False, True))
        self._add("thing", "upsert" if after else "delete", name, None if is_looked_up else after, before)

    def _publish(self) -> None:
        is_small = self.has_small_changes and self.draw((True,) * 9 + (False,))
        self.publish(
            changed(self.draw, self.compiled[len(self.versions)].definition) if is_small else definition(self.draw)
        )

    def publish(self, published: AppDefinition) -> None:
        number = len(self.versions) + 1
        self.mark("publish", nonce_of_version(number), version=number)
        self._store(published, self.events[-1].cluster_time)

    def _store(self, published: AppDefinition, cluster_time: int) -> None:
        """Stores a version in memory, for sessions, and in the Django database, for grants."""
        number = len(self.versions) + 1
        self.compiled[number] = CompiledVersion(published, number)
        self.versions.append(StoredVersion(number, nonce_of_version(number), cluster_time))
        app = self.client.apps.get()
        Version.objects.create(
            app=app,
            number=number,
            definition=published.to_json(),
            nonce=nonce_of_version(number),
            cluster_time=cluster_time,
        )

    def mark(self, kind: str, nonce: str, **fields: Any) -> None:
        name = f"{kind}:{APP_ID}"
        document = {"_id": name, "app": APP_ID, "nonce": nonce, **fields}
        self._add(MARKERS_COLLECTION, "upsert", name, document, None)

    def mark_access(self, marker: AccessMarker) -> None:
        self.mark(f"access:{marker.client_id}", marker.text)

    def _add(self, collection: str, operation: Any, name: str, after: Any, before: Any) -> None:
        self.idle = 0
        self.events.append(
            ChangeEvent(
                operation,
                collection,
                name,
                copy.copy(after),
                self.now + 1,
                False,
                0,
                None,
                before,
                is_before_known=True,
            )
        )

    @property
    def now(self) -> int:
        return BEGIN + len(self.events)

    # `VersionHistory`

    async def _stored(self, since: int = 0) -> Sequence[StoredVersion]:
        return self.versions

    async def _get(self, version: Any) -> CompiledVersion:
        return self.compiled[version.number]

    # The source

    async def current_cluster_time(self, database: Any) -> int:
        return self.now

    async def write_marker(self, database: Any, app_id: str, kind: Any) -> str:
        nonce = f"{self.now:032x}"
        self.mark(kind, nonce)
        return nonce

    async def write_access_marker(self, database: Any, app_id: str, marker: AccessMarker) -> None:
        if self.actions > 0 and self.draw((False, False, False, True)):
            raise SourceUnreachable("Gone for a moment.")
        self.mark_access(marker)

    async def scan(
        self, database: Any, collection: str, fields: Collection[str] = EVERYTHING, *, with_one_of: Collection[str] = ()
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        for name in IDS:
            await self.act()
            document = self.documents.get(name) if collection == "thing" else None
            if document is not None and (not with_one_of or not document.keys().isdisjoint(with_one_of)):
                yield [projected(document, projection_for(fields))]

    async def find_documents(
        self, database: Any, collection: str, ids: Any, projection: Projection | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        yield [projected(self.documents[name], projection) for name in ids if name in self.documents]

    async def estimate_count(self, database: Any, collection: str) -> int:
        return 0

    async def inspect_source(self, database: Any) -> SourceReport:
        return SourceReport((8, 0, 0), "replica set")

    async def open_change_stream(self, database: Any, content: Any, cluster_time: int, **options: Any) -> "Stream":
        return Stream(self, {*content.collections, MARKERS_COLLECTION}, cluster_time)

    def patched(self) -> ExitStack:
        """Makes everything that would query the source query this world."""
        stack = ExitStack()
        for module, names in {
            session: ["current_cluster_time"],
            source_clock: ["current_cluster_time"],
            snapshot: ["estimate_count"],
            barrier: ["write_marker"],
            row_loader: ["scan"],
            client_access: ["write_access_marker"],
            renderer: ["find_documents", "scan"],
            entry_reader: ["inspect_source", "open_change_stream"],
        }.items():
            for name in names:
                stack.enter_context(patch.object(module, name, getattr(self, name)))
        stack.enter_context(patch.object(renderer, "choose_projection", choose_projection))
        stack.enter_context(patch.object(source_identity, "majority_cluster_time", self.current_cluster_time))
        stack.enter_context(patch.object(session, "Feed", lambda *args: WorldFeed(self, args[2])))
        stack.enter_context(patch.object(client_access, "MARK_AGAIN_SECONDS", 0.0))
        stack.enter_context(patch.object(lookups, "LOOKUP_SECONDS", 0.0))
        stack.enter_context(patch.object(closing, "REFUSAL_DELAY_SECONDS", 0.0))
        stack.enter_context(patch.object(session, "TransactionSender", self._new_sender))
        return stack

    def _new_sender(self, *args: Any) -> TransactionSender:
        self.sender = TransactionSender(*args)
        return self.sender

    # The service

    def service(self) -> Any:
        """Returns the service of a process that has just been started."""
        self.seen = None

        @asynccontextmanager
        async def snapshot_slot(app_id: str, client_id: int) -> AsyncIterator[None]:
            for _ in range(3):
                await self.act()
            yield

        return SimpleNamespace(
            settings=ChangeSourceSettings(snapshot_plain_inserts=True, quiet_commit_seconds=1e9),
            limits=SimpleNamespace(snapshot_slot=snapshot_slot),
            sources=SimpleNamespace(database=lambda name: None),
            is_stopping=False,
            add_connection=lambda connection: None,
            remove_connection=lambda connection: None,
            published=lambda app_id: PublishedApp(
                app_id, len(self.versions), self.compiled[len(self.versions)].definition, "log", 1
            ),
            history_of=lambda published: self,
            log_of=lambda published: None,
            row_error_sink=lambda app_id: FoundErrors(),
            entitlements=lambda key: self.seen,
        )

    def expected(self) -> tuple[dict[str, dict[str, Any]], Any, Any]:
        """Returns what the newest version and the grant give now: tables with rows by `_id`,
        indexes, and the permissions row."""
        grant = self.client.grants.get()
        view = ClientView(
            self.compiled[len(self.versions)], Access.from_json(json.dumps(grant.access())), access_number=0
        )
        tables = {
            table.table.name: {
                row["_id"]: row
                for row in view.rows(
                    table,
                    (
                        row
                        for found in self.documents.values()
                        if table.table.collection == "thing"
                        for row in table.table.rows(found, [])
                    ),
                )
            }
            for table in view.tables
        }
        specs = [table.table.spec for table in view.tables]
        indexes = sorted((spec.name, *index) for spec in specs for index in (spec.key, *spec.indexes))
        return tables, indexes, view.permissions.permissions


class Stream:
    """The change stream of a world, in batches of any size."""

    def __init__(self, world: World, collections: Any, cluster_time: int) -> None:
        self._world = world
        self._collections = collections
        self._next = max(0, cluster_time - BEGIN - 1)

    async def next_batch(self, *, wait: bool = True) -> Batch:
        world = self._world
        await world.act()
        unread = world.events[self._next :]
        if not unread:
            world.idle += 1
            if world.actions <= 0:
                await world.tick()
                if world.idle > 6:
                    raise Done
            return Batch([], is_end=True)
        world.idle = 0
        taken = unread[: world.draw((1, 2, 5))]
        self._next += len(taken)
        return Batch([event for event in taken if event.collection in self._collections], is_end=False)

    async def close(self) -> None:
        return None


class WorldFeed:
    """Plays the feed: entries as from a log that began long ago, or as from MongoDB."""

    def __init__(self, world: World, after: Position) -> None:
        self._world = world
        self.position = after

    async def readings(self) -> AsyncGenerator[Reading, None]:
        world, start = self._world, self.position.cluster_time
        begin = Position(BEGIN) if world.draw(("log", "MongoDB")) == "log" else self.position
        version = await world.at(begin)
        source = AppSource(None, world, FoundErrors())  # type: ignore[arg-type]
        reader = EntryReader(source, version, begin.cluster_time, begin)
        readings = reader.readings()
        try:
            async for reading in readings:
                if isinstance(reading, Entry):
                    if reading.position.cluster_time < start:
                        continue
                    if reading.is_final:
                        self.position = max(self.position, reading.position)
                yield reading
        finally:
            await readings.aclose()


class ZeroCache:
    """A zero-cache: the `Outlet` of a session, which builds a replica from messages. It fails where
    the real one ends for good."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.version: Position | None = None
        self.watermark: Position | None = None
        self.tables: dict[str, dict[str, Any]] = {}
        self._columns: dict[str, set[str]] = {}
        self._indexes: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._open: Any = None
        self.watermarks: list[tuple[Position, Any]] = []

    async def connect(self) -> None:
        """Runs one connection until it breaks off or is closed. Raises `Done` if nothing more
        happens."""
        world = self._world
        self._open = None
        if self.watermarks and world.actions > 0 and world.draw((False, False, True)):
            self.watermark, (self.tables, self._columns, self._indexes) = world.draw(self.watermarks)
        resume = None if self.version is None else Resume(self.watermark or self.version, self.version)
        request = StreamRequest(APP_ID, 0, (), resume)
        world.session = Session(world.service(), request, Identity(world.client.pk, "tenant"), self, lambda how: None)
        async with AsyncExitStack():
            await world.session.run()

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        await self._world.act()
        for frame in frames:
            if self._world.actions > 0 and self._world.draw((0,) * 30 + (1,)):
                raise BrokeOff
            self._take(json.loads(frame))

    def _take(self, message: Any) -> None:
        kind, change = message[:2]
        if kind == "begin":
            assert self._open is None
            self._open = (
                Position.from_watermark(message[2]["commitWatermark"]),
                copy.deepcopy((self.tables, self._columns, self._indexes)),
            )
        elif kind == "rollback":
            assert self._open is not None
            self._open = None
        elif kind == "commit":
            self._commit(Position.from_watermark(message[2]["watermark"]))
        elif kind == "control":
            raise AssertionError(change["message"])  # every change has its place in the stream
        else:
            self._change(*self._open[1], change)

    def _commit(self, watermark: Position) -> None:
        begun, (self.tables, self._columns, self._indexes) = self._open
        assert begun == watermark
        assert self.watermark is None or self.version is None or watermark > self.watermark
        self._open = None
        if self.version is None:
            self.version = watermark
        self.watermark = watermark
        self.watermarks = [*self.watermarks[-5:], (watermark, (self.tables, self._columns, self._indexes))]

    def _change(
        self,
        tables: dict[str, dict[str, Any]],
        columns: dict[str, set[str]],
        indexes: dict[str, tuple[str, tuple[str, ...]]],
        change: Any,
    ) -> None:
        tag = change["tag"]
        if tag == "create-table":
            name = change["spec"]["name"]
            assert name not in tables
            tables[name], columns[name] = {}, set(change["spec"]["columns"])
        elif tag == "drop-table":
            name = change["id"]["name"]
            del tables[name], columns[name]
            for index in [index for index, (table, _) in indexes.items() if table == name]:
                del indexes[index]
        elif tag == "create-index":
            spec = change["spec"]
            assert spec["name"] not in {*indexes, *tables}
            assert spec["columns"].keys() <= columns[spec["tableName"]]
            indexes[spec["name"]] = (spec["tableName"], tuple(spec["columns"]))
        elif tag == "drop-index":
            del indexes[change["id"]["name"]]
        elif tag == "add-column":
            name, column = change["table"]["name"], change["column"]
            assert column["name"] not in columns[name]
            assert not column["spec"]["notNull"]
            columns[name].add(column["name"])
            for row in tables[name].values():
                row[column["name"]] = None
        elif tag == "drop-column":
            name = change["table"]["name"]
            assert not any(table == name and change["column"] in index for table, index in indexes.values())
            columns[name].remove(change["column"])
            for row in tables[name].values():
                row.pop(change["column"], None)
        elif tag == "truncate":
            tables[change["relations"][0]["name"]].clear()
        elif tag == "insert":
            name, row = change["relation"]["name"], change["new"]
            assert set(row) <= columns[name]
            tables[name][row.get("_id")] = row
            self._check_may_be_seen(name, row)
        elif tag == "delete":
            tables[change["relation"]["name"]].pop(change["key"]["_id"], None)

    def _check_may_be_seen(self, name: str, row: Any) -> None:
        """Checks that nothing is sent that a stored access or a published version, if the session
        knows it, takes away."""
        found = self._world.session
        if name in ("city", "river") and self.version is not None and found is not None and self._world.sender:
            access, version = found._access, self._world.sender.view.version
            view = access._view(version, access.entitlements.versions[-1])
            gone: set[str] = set()
            to_come = [coming for coming in access.coming if coming.number > version.number]
            for each in (view, *(access._view(coming, access.entitlements.versions[-1]) for coming in to_come)):
                shown = {table.table.name: table for table in each.tables}
                assert name in shown
                gone |= row.keys() - {column.name for column in shown[name].table.spec.columns}
            assert all(row[column] is None for column in gone)
            shown = {table.table.name: table for table in view.tables}
            if self._world.has_filters:
                table = next(table for table in version.definition.tables if table.server_name == name)
                assert (table.name, table.collection) in self._world.named
            if gone.isdisjoint(shown[name].table.filter_columns):
                assert list(view.rows(shown[name], iter([row])))

    def contents(self) -> tuple[dict[str, dict[str, Any]], Any, Any]:
        """Returns the replica's contents in the form of `World.expected`."""
        rows = {name: rows for name, rows in self.tables.items() if name in ("city", "river")}
        indexes = sorted((table, *index) for table, index in self._indexes.values() if table in rows)
        return rows, indexes, self.tables["permissions"][None]["permissions"]


def new_client(name: str) -> Client:
    app, _ = App.objects.get_or_create(app_id=APP_ID, defaults={"source": "default"})
    client = Client.objects.create_for_apps(name, [app])
    client.accepts_jwt = True  # so that it needs no credential
    client.save()
    return client


def in_this_thread() -> ExitStack:
    """Makes queries run in the event loop's thread, as there is no other stream to hold up, and
    with this thread's connection: Django would open one for each task."""

    async def in_database(thread: DatabaseThread, query: Any, *args: Any, **kwargs: Any) -> Any:
        return query(*args, **kwargs)

    stack = ExitStack()
    own = SimpleNamespace(**{alias: connections[alias] for alias in connections})
    stack.enter_context(patch.object(connections, "_connections", own))
    stack.enter_context(patch.object(DatabaseThread, "ask", in_database))
    return stack
