"""What the oracle breaks: servers of its own, two watchers, two servers of the stream, one zero-cache."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import redis

from changesource.rules.row_filter import RowFilter
from tests.e2e.deployment import Deployment, Rows, sorted_rows
from tests.faults.tables import (
    ATTIC,
    ATTRIBUTES,
    COLLECTIONS,
    MAPPINGS,
    ROW_FILTERS,
    SCHEMA,
    SLOW_COLLECTIONS,
)
from tests.faults.tcp_proxy import TcpProxy
from tests.node.tools import ReplicaContents
from zerosources.embedded.project import ServeCommand, WatchChangesCommand
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.zero_cache import ZeroCache

LEASE_SECONDS = 2
READY_SECONDS = 10.0
"""How long `/readyz` may take to answer."""
LATEST_ENTRIES = 2_000
MAX_MARKERS_BYTES = 100_000
"""Of one entry: a hundred real markers have some thousands."""
MAX_RUNNING_SNAPSHOTS = 100
"""Notes of snapshots in the Django database: those under way, and those of servers that were killed of late."""
KEPT_FRAMES = 2_000
"""Of the latest connection of zero-cache: enough to see what led to a mismatch."""
SHARED: dict[str, Any] = {name: {} for name in SCHEMA["tables"]}
REPLICAS = "SELECT shard_num, replica_version FROM changesource_replica"
COUNTS = """
SELECT 'replica', count(*) FROM changesource_replica
UNION SELECT 'awaitedreplica', count(*) FROM changesource_awaitedreplica
UNION SELECT 'runningsnapshot', count(*) FROM changesource_runningsnapshot
"""
GRANT = """
import json
from changesource.models import Grant
for grant in Grant.objects.select_related("client"):
    grant.client.attributes = json.loads({attributes!r})
    grant.client.save()
    grant.row_filters = {row_filters!r}
    grant.save()
"""


class System:
    """As a context manager all of it runs, and a snapshot is under way."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self.folder = folder
        self._zero_caches = 0
        self._connections_before = 0
        self.zero_cache: ZeroCache
        self.snapshots_of_stranger = 0
        self.publishes = 0

    def __enter__(self) -> System:
        # Not `pop_all`: the deployment goes on adding to the stack that it was given.
        try:
            self._start(self._stack)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def connected_server(self) -> ServeCommand:
        """The one that zero-cache connects to."""
        return next(server for server in self.servers if server.port == self.stream_proxy.target_port)

    def connect_to_another_server(self) -> None:
        """New connections of zero-cache go to another server than before."""
        self.stream_proxy.target_port = next(
            server.port for server in self.servers if server is not self.connected_server
        )

    def renew_zero_cache(self) -> None:
        """Another zero-cache, without a replica, takes the place of the one that runs."""
        self.zero_cache.stop()
        # Its log stays.
        for path in self.zero_cache.replica_path.parent.glob(f"{self.zero_cache.replica_path.name}*"):
            path.unlink()
        self.zero_cache = self._next_zero_cache()

    @property
    def is_taking_a_snapshot(self) -> bool:
        """Whether zero-cache has connected without a replica since it was renewed."""
        return self.proxy.connections[self._connections_before :][-1:] != [] and all(
            not connection.last_watermark for connection in self.proxy.connections[self._connections_before :]
        )

    def latest_frames(self) -> list[str]:
        """What zero-cache was sent on its latest connection, as far as it is kept."""
        return list(self.proxy.connections[-1].frames) if self.proxy.connections else []

    def documents(self) -> dict[str, list[dict[str, Any]]]:
        """What the collections hold that are written to."""
        collections = (*COLLECTIONS, *SLOW_COLLECTIONS, ATTIC)
        return {collection: list(self.deployment.database[collection].find({})) for collection in collections}

    def load(self, state: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Let the collections hold what `documents` gave."""
        for collection, documents in state.items():
            for document in documents:
                found = self.deployment.database[collection]
                found.replace_one({"_id": document["_id"]}, document, upsert=True)

    def is_stuck(self, barrier: str) -> bool:
        """Whether zero-cache has got this barrier, in a state in which it will never apply it.

        zero-cache 1.9.0: what subscribes to its change streamer while a transaction comes in, as its replicator does when it
        has just started, waits for the end of that transaction. If the connection breaks off first, it waits for ever:
        `abort` in storer.js forgets `catchupQueue`. Only another start helps.
        """
        frames = "".join(self.latest_frames()).partition(f'"{barrier}"')[2]
        log = self.zero_cache.log_path.read_text(encoding="utf-8", errors="replace")
        return '["commit"' in frames and "aborting interrupted transaction" in log

    def replicas(self) -> list[tuple[int, str]]:
        """The shard and the version of each replica that is registered."""
        return [(int(shard), str(version)) for shard, version in self._stored(REPLICAS)]

    def excess(self) -> str:
        """What holds more than what zero-caches have really done accounts for: tables of the Django database, and entries of
        the log."""
        snapshots = self.snapshots_of_stranger + sum(
            not connection.last_watermark for connection in self.proxy.connections
        )
        registered = {shard for shard, _ in self.replicas()}
        limits = {"replica": snapshots, "awaitedreplica": len(registered), "runningsnapshot": MAX_RUNNING_SNAPSHOTS}
        counts = dict(self._stored(COUNTS))
        found = [
            f"The table {name} has {counts[name]} rows, and at most {limit} are accounted for."
            for name, limit in limits.items()
            if counts[name] > limit
        ]
        if (size := self._bytes_of_markers()) > MAX_MARKERS_BYTES:
            found.append(f"An entry of the log has {size} bytes of markers.")
        return " ".join(found)

    def missing(self) -> str:
        """What `/readyz` of the servers says is missing; empty when all of them are ready."""
        return " ".join(filter(None, [_missing(server) for server in self.servers]))

    def check_running(self) -> None:
        """Raises ServerError if one of the product's processes has ended by itself."""
        for process in (*self.watchers, *self.servers):
            process.check_running()

    def leading_watcher(self) -> WatchChangesCommand | None:
        """None if nobody leads, or Redis cannot be asked."""
        try:
            with redis.Redis.from_url(self.valkey.url) as connection:
                owners = [connection.get(key) for key in connection.scan_iter("*:leader")]
        except redis.RedisError:
            return None
        pids = [int(owner.split(b":")[-2]) for owner in owners if isinstance(owner, bytes)]
        return next((watcher for watcher in self.watchers if watcher.pid in pids), None)

    @property
    def leads(self) -> int:
        """How often a watcher has begun to lead."""
        return sum(
            watcher.log_path.read_text(encoding="utf-8", errors="replace").count(": leads as ")
            for watcher in self.watchers
        )

    def expected_rows(self) -> Rows:
        """What the client may see of what the mappings give for the documents in MongoDB now."""
        rows = self.deployment.expected_rows()
        for table in self.deployment.definition.tables:
            if table.name in ROW_FILTERS:
                row_filter = RowFilter(table, ROW_FILTERS[table.name], ATTRIBUTES)
                rows[table.server_name] = [
                    row
                    for row in rows[table.server_name]
                    if row_filter.passes([row[name] for name in table.filter_columns])
                ]
        return rows

    def found_rows(self, contents: ReplicaContents) -> Rows:
        """With booleans as such, which SQLite keeps as 0 and 1."""
        rows = self.deployment.comparable(contents.rows)
        for table in self.deployment.definition.tables:
            names = [column.server_name for column in table.columns if column.type == "boolean"]
            for row in rows[table.server_name] if names else ():
                row.update({name: bool(row[name]) for name in names if row[name] in (0, 1)})
        return {table: sorted_rows(found) for table, found in rows.items()}

    def _bytes_of_markers(self) -> int:
        """The most that one of the latest entries of the log has."""
        with redis.Redis.from_url(self.valkey.url) as connection:
            entries = [
                fields
                for key in connection.scan_iter("*:log")
                for _, fields in connection.xrevrange(key, count=LATEST_ENTRIES)
            ]
        return max((len(fields.get(b"m", b"")) for fields in entries), default=0)

    def _stored(self, query: str) -> list[tuple[Any, ...]]:
        """What is in the Django database."""
        path = self.deployment.folder / "django.sqlite3"
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    def _start(self, stack: ExitStack) -> None:
        folder = self.folder
        self.change_of_collections = threading.Lock()
        self.mongo = stack.enter_context(MongoServer(folder / "mongodb", test_commands=True, sync_on_commit=True))
        self.valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        self.postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        self.redis_proxy = stack.enter_context(TcpProxy(self.valkey.port))
        self.mongo_proxy = stack.enter_context(TcpProxy(self.mongo.port))
        self.deployment = Deployment(
            stack,
            folder / "project",
            self.mongo,
            self.postgres,
            self.valkey,
            SCHEMA,
            MAPPINGS,
            REDIS_URL=f"redis://127.0.0.1:{self.redis_proxy.port}/0",
            LEASE_SECONDS=str(LEASE_SECONDS),
        )
        # Directly, as the driver would go to the address that MongoDB gives for itself. What reads and writes here does.
        self.deployment.environment["MONGODB_URI"] = (
            f"mongodb://127.0.0.1:{self.mongo_proxy.port}/{self.deployment.app_id}?directConnection=true"
        )
        self.stranger_token = self.deployment.manage(
            "create_client", "stranger", "--app", self.deployment.app_id
        ).splitlines()[-1]
        self.deployment.manage(
            "shell",
            "-v",
            "0",
            "-c",
            GRANT.format(
                attributes=json.dumps(ATTRIBUTES),
                row_filters=json.dumps(SHARED | ROW_FILTERS),
            ),
        )
        for collection in (*COLLECTIONS, *SLOW_COLLECTIONS):
            self.deployment.database[collection].insert_one({"_id": "first"})
        self.watchers = [self.deployment.watch(f"watcher-{number}") for number in (1, 2)]
        self.servers = [self.deployment.serve(f"serve-{number}") for number in (1, 2)]
        self.stream_proxy = stack.enter_context(TcpProxy(self.servers[0].port))
        self.proxy = self.deployment.proxy(self.servers[0])
        self.proxy.kept_frames = KEPT_FRAMES
        direct = urlsplit(self.proxy.target)
        credentials = f"{direct.username}:{direct.password}"
        self.proxy.target = direct._replace(netloc=f"{credentials}@127.0.0.1:{self.stream_proxy.port}").geturl()
        self.zero_cache = self._next_zero_cache()

    def _next_zero_cache(self) -> ZeroCache:
        """One that is started again when it ends, as it counts on."""
        self._connections_before = len(self.proxy.connections)
        zero_cache = ZeroCache(
            self.folder / f"zero-cache-{self._zero_caches}",
            upstream_url=self.proxy.stream_url(),
            postgres=self.postgres,
            app_id=self.deployment.app_id,
            shard_num=self._zero_caches,
            supervise=True,
        )
        self._zero_caches += 1
        self._stack.callback(zero_cache.stop)
        zero_cache.start(wait=False)
        return zero_cache


def _missing(server: ServeCommand) -> str:
    try:
        with urlopen(f"{server.url}/readyz", timeout=READY_SECONDS):
            return ""
    except HTTPError as error:
        return f"{server.data_dir.name}: {error.read().decode(errors='replace')}"
    except OSError as error:
        return f"{server.data_dir.name}: {error}"
