"""What the soak runs: a split deployment with servers of its own, two watchers, two servers, two zero-caches."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pymongo
import redis
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from tests.e2e.deployment import Deployment, replica_or_none
from tests.embedded.waiting import wait_until
from tests.soak.writer import COLLECTIONS
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.server import Server
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.zero_cache import ZeroCache

REPLICAS = 2
PULSES = "pulses"
REDIS_MAX_BYTES = 320 * 2**20
"""What docs/operations.md asks for: 256 MiB for the log of one app, and some room."""
SNAPSHOT_SECONDS = 120

COLUMNS = {
    "_id": {"type": "string"},
    "n": {"type": "number", "optional": True},
    "count": {"type": "number", "optional": True},
    "text": {"type": "string", "optional": True},
    "customer": {"type": "json", "optional": True},
    "tags": {"type": "json", "optional": True},
}
SCHEMA: dict[str, Any] = {
    "tables": {
        **{name: {"name": name, "columns": COLUMNS, "primaryKey": ["_id"]} for name in COLLECTIONS},
        PULSES: {
            "name": PULSES,
            "columns": {"_id": {"type": "string"}, "n": {"type": "number"}},
            "primaryKey": ["_id"],
        },
    },
    "relationships": {},
}


class SoakSystem:
    """As a context manager all of it runs but the zero-caches.

    Attributes:
        ours: the processes of this project, by name.
        others: the servers beside them, by name.
        database: where the load is written to, without retryable writes: the embedded MongoDB remembers the answers to
            10,000 of them and looks through all of these at each further one (2,800 updates a second became 1,700 within a
            quarter of a minute, and stayed 2,900 without).
    """

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._folder = folder
        self.ours: dict[str, Server] = {}
        self.others: dict[str, Server] = {}
        self.zero_caches: list[ZeroCache] = []
        self._servers: list[ServeCommand] = []

    @property
    def stream_url(self) -> str:
        """Of a shard that no zero-cache has, at the first server."""
        server = self._servers[0]
        address = f"ws://127.0.0.1:{server.port}/changes/v0/stream"
        return f"{address}?token={self.deployment.token}&appID={self.deployment.app_id}&shardNum={REPLICAS}"

    def __enter__(self) -> SoakSystem:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def start_zero_caches(self) -> None:
        """Each with a client of its own, at a server of its own. Returns when all have their snapshot."""
        for number, server in enumerate(self._servers):
            token = self.deployment.manage("create_client", f"zero-cache-{number}", "--app", self.deployment.app_id)
            zero_cache = ZeroCache(
                self._folder / f"zero-cache-{number}",
                upstream_url=server.stream_url(token.splitlines()[-1]),
                postgres=self._postgres,
                app_id=self.deployment.app_id,
                shard_num=number,
            )
            self._stack.callback(zero_cache.stop)
            zero_cache.start(wait=False)
            self.zero_caches.append(zero_cache)
            self.others[f"zero-cache-{number}"] = zero_cache
        for zero_cache in self.zero_caches:
            wait_until(lambda replica=zero_cache: replica_or_none(replica, (PULSES,)) is not None, SNAPSHOT_SECONDS)

    def check_running(self) -> None:
        """Raises ServerError if one of the processes has ended."""
        for server in (*self.ours.values(), *self.others.values()):
            server.check_running()

    def _start(self) -> None:
        folder, stack = self._folder, self._stack
        mongo = stack.enter_context(MongoServer(folder / "mongodb"))
        self.valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        self.redis = stack.enter_context(redis.Redis.from_url(self.valkey.url))
        self.redis.config_set("maxmemory", REDIS_MAX_BYTES)
        self.redis.config_set("maxmemory-policy", "noeviction")
        self._postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        self.deployment = Deployment(
            stack,
            folder / "project",
            mongo,
            self._postgres,
            self.valkey,
            SCHEMA,
            HEARTBEAT_SECONDS="10",
            LEASE_SECONDS="5",
            # As in production: with DEBUG Django keeps the last 9,000 queries of each connection, which looks like a leak.
            DEBUG="0",
            ALLOWED_HOSTS="127.0.0.1",
        )
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            mongo.uri(self.deployment.app_id), retryWrites=False
        )
        stack.callback(client.close)
        self.database: Database[dict[str, Any]] = client.get_default_database(write_concern=WriteConcern("majority"))
        for number in range(1, REPLICAS + 1):
            self.ours[f"watcher-{number}"] = self.deployment.watch(f"watcher-{number}")
        for number in range(1, REPLICAS + 1):
            server = self.deployment.serve(f"serve-{number}")
            self._servers.append(server)
            self.ours[f"serve-{number}"] = server
        self.others |= {"mongodb": mongo, "valkey": self.valkey, "postgres": self._postgres}
