"""What the oracle breaks: servers of its own, two watchers, two servers of the stream, one zero-cache."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import redis

from changesource.mapping.rules.row_filter import RowFilter
from tests.e2e.deployment import Deployment, Rows
from tests.faults.tables import ATTRIBUTES, COLLECTIONS, MAPPINGS, ROW_FILTERS, SCHEMA
from tests.faults.tcp_proxy import TcpProxy
from tests.node.tools import ReplicaContents
from zerosources.embedded.project import ServeCommand, WatchChangesCommand
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.zero_cache import ZeroCache

LEASE_SECONDS = 2
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
        self._folder = folder
        self._zero_caches = 0
        self.zero_cache: ZeroCache

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
        self._zero_caches += 1
        self.zero_cache = self.deployment.zero_cache(self.proxy, self._zero_caches)

    def leading_watcher(self) -> WatchChangesCommand | None:
        """None if nobody leads."""
        with redis.Redis.from_url(self.valkey.url) as connection:
            owners = [connection.get(key) for key in connection.scan_iter("*:leader")]
        pids = [int(owner.split(b":")[-2]) for owner in owners if isinstance(owner, bytes)]
        return next((watcher for watcher in self.watchers if watcher.pid in pids), None)

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
        return self.deployment.comparable(contents.rows)

    def _start(self, stack: ExitStack) -> None:
        folder = self._folder
        self.mongo = stack.enter_context(MongoServer(folder / "mongodb", test_commands=True, sync_on_commit=True))
        self.valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        self.postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        self.redis_proxy = stack.enter_context(TcpProxy(self.valkey.port))
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
        self.deployment.manage(
            "shell",
            "-v",
            "0",
            "-c",
            GRANT.format(attributes=json.dumps(ATTRIBUTES), row_filters=json.dumps(ROW_FILTERS)),
        )
        for collection in COLLECTIONS:
            self.deployment.database[collection].insert_one({"_id": "first"})
        self.watchers = [self.deployment.watch(f"watcher-{number}") for number in (1, 2)]
        self.servers = [self.deployment.serve(f"serve-{number}") for number in (1, 2)]
        self.stream_proxy = stack.enter_context(TcpProxy(self.servers[0].port))
        self.proxy = self.deployment.proxy(self.servers[0])
        direct = urlsplit(self.proxy.target)
        credentials = f"{direct.username}:{direct.password}"
        self.proxy.target = direct._replace(netloc=f"{credentials}@127.0.0.1:{self.stream_proxy.port}").geturl()
        self.zero_cache = self.deployment.zero_cache(self.proxy)
