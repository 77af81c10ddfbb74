"""Connections to the MongoDB deployments that apps name as their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import Timestamp
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import AutoReconnect, ConfigurationError, InvalidURI, PyMongoError, ServerSelectionTimeoutError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.server_description import ServerDescription
from pymongo.write_concern import WriteConcern

from changesource.conf import source_variable
from changesource.errors import ChangeSourceError, SourceUnreachable, SourceUnusable, UnknownSource
from changesource.mongo.faults import as_source_error
from changesource.tables.definition import MARKERS_COLLECTION
from changesource.tables.values import CODEC_OPTIONS

Database = AsyncDatabase[dict[str, Any]]

APP_NAME = "zero-sources"
SERVER_SELECTION_TIMEOUT_MS = 5_000
PROBE_TIMEOUT_MS = 1_000
"""For a second attempt at a server that was not found, to say why."""
SHARDED_CLUSTER = "sharded cluster"
FIXED_OPTIONS: Mapping[str, Any] = {
    "timeoutMS": None,
    "socketTimeoutMS": None,
    "waitQueueTimeoutMS": None,
    "maxPoolSize": 100,
}
"""Options that a URI may have and that would change how our commands run. The values here are
PyMongo's defaults.

`timeoutMS` would replace the `maxTimeMS` of a `getMore`, which would then hold the answer back for
that long. A `socketTimeoutMS` shorter than the second for which a quiet getMore is held would break
the stream each time. (PyMongo finds a silent server by its heartbeats.) Each change stream holds a
connection while it waits, so a pool that is too small, or a short wait for it, would stop other
commands.
"""
MIN_VERSION = (6, 0)
"""The first version whose change streams have pre- and post-images."""
MIN_SPLIT_VERSION = (6, 0, 9)
"""The first version with `$changeStreamSplitLargeEvent`, which 6.1 to 6.3 lack."""


def uri_of(name: str, uris: Mapping[str, str]) -> str:
    """Returns the URI of the source `name`. Raises `UnknownSource` if it has none."""
    if name not in uris:
        raise UnknownSource(f"The source {name!r} has no URI. Set {source_variable(name)}.")
    return uris[name]


class Sources:
    """The databases behind the names of sources, one client each. It belongs to one event loop."""

    def __init__(self, uris: Mapping[str, str]) -> None:
        self._uris = uris
        self._clients: dict[str, AsyncMongoClient[dict[str, Any]]] = {}

    def database(self, name: str) -> Database:
        """Returns the database that the URI of the source `name` names. It connects when it is
        first used. Raises `UnknownSource`.

        Reads return what a majority of the replica set has, and writes are acknowledged by a
        majority. So nothing that is sent to zero-cache can be rolled back.
        """
        uri = uri_of(name, self._uris)
        try:
            if name not in self._clients:
                self._clients[name] = AsyncMongoClient(
                    uri,
                    appname=APP_NAME,
                    serverSelectionTimeoutMS=SERVER_SELECTION_TIMEOUT_MS,
                    server_selector=_one_mongos,
                    **FIXED_OPTIONS,
                )
            database = self._clients[name].get_default_database(codec_options=CODEC_OPTIONS)
        except (ConfigurationError, InvalidURI, ValueError, OSError) as error:
            raise UnknownSource(
                f"The URI of the source {name!r} is not usable: it must be a mongodb:// URI with a database in its path."
            ) from error
        return database.with_options(
            # Only the primary, whatever the URI says: a secondary may be behind what the change
            # stream has shown.
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern("majority", wtimeout=30_000),
        )

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()
        self._clients.clear()


def _one_mongos(servers: Sequence[ServerDescription]) -> Sequence[ServerDescription]:
    """Selects the first available one of several routers: a cursor exists on one of them, and our
    plain commands are not bound to a router."""
    routers = [server for server in servers if server.server_type_name == "Mongos"]
    return sorted(routers, key=lambda server: server.address)[:1] or servers


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What a deployment reports. `version` is `major, minor, patch`; `topology` is for people."""

    version: tuple[int, ...]
    topology: str

    @property
    def can_split_large_events(self) -> bool:
        return self.version >= (7, 0) or MIN_SPLIT_VERSION <= self.version < (6, 1)

    @property
    def is_sharded(self) -> bool:
        return self.topology == SHARDED_CLUSTER


async def inspect_source(database: Database) -> SourceReport:
    """Returns what the deployment is. Raises `SourceUnusable`, with the remedy, or
    `SourceUnreachable`."""
    hello = await _ask(database, "hello")
    if hello.get("secondary"):  # PyMongo uses a secondary only if the URI has directConnection
        raise SourceUnreachable(
            "The server is a secondary, which may be behind what was read before. Remove directConnection from the URI, "
            "or name the primary."
        )
    version = tuple((await _ask(database, "buildInfo"))["versionArray"][:3])
    if hello.get("msg") == "isdbgrid":
        topology = SHARDED_CLUSTER
    elif "setName" in hello:
        topology = f"replica set {hello['setName']}"
    else:
        raise SourceUnusable(
            "The server is a standalone, which has no change streams. Start mongod with --replSet and run "
            "rs.initiate() once. A replica set of one member is enough."
        )
    if version < MIN_VERSION:
        found = ".".join(map(str, version))
        raise SourceUnusable(f"MongoDB {found} is too old. Upgrade to 6.0 or later.")
    return SourceReport(version, topology)


async def current_cluster_time(database: Database) -> int:
    """Returns a cluster time that covers every write acknowledged before this call, as
    `seconds << 32 | increment`."""
    return _operation_time(await _ask(database, "ping"))


async def majority_cluster_time(database: Database) -> int:
    """Returns a cluster time up to which a majority has everything now. Such writes are not rolled
    back, and later majority reads see them. (MongoDB: the operationTime of a read with the read
    concern "majority".)"""
    read = {"find": MARKERS_COLLECTION, "limit": 1, "singleBatch": True, "readConcern": {"level": "majority"}}
    try:
        return _operation_time(await database.command(read))
    except PyMongoError as error:
        raise as_source_error(error) from error


def _operation_time(reply: Mapping[str, Any]) -> int:
    moment = reply.get("operationTime")
    if not isinstance(moment, Timestamp):
        raise SourceUnusable("The server reports no operation time; it is not a member of a replica set.")
    return cluster_time_of(moment)


async def _ask(database: Database, command: str) -> dict[str, Any]:
    """Runs a command, again if the connection broke: PyMongo itself only retries reads."""
    try:
        try:
            return await database.command(command)
        except ServerSelectionTimeoutError as error:
            raise await _as_no_server_error(database, error) from error
        except AutoReconnect:
            return await database.command(command)
    except PyMongoError as error:
        raise as_source_error(error) from error


async def _as_no_server_error(database: Database, error: ServerSelectionTimeoutError) -> ChangeSourceError:
    """Explains why no server was found: PyMongo does not report servers that belong to another
    replica set than the URI's."""
    wanted = database.client.options.replica_set_name
    if not wanted:
        return as_source_error(error)
    options = {"replicaSet": None, "directConnection": False, "serverSelectionTimeoutMS": PROBE_TIMEOUT_MS}
    async with database.client._duplicate(**options) as client:
        try:
            found = (await client.admin.command("hello")).get("setName")
        except PyMongoError:
            return as_source_error(error)
    if found == wanted:
        return as_source_error(error)
    belong = f"belongs to the replica set {found!r}" if found else "belongs to no replica set"
    return SourceUnusable(f"The URI names the replica set {wanted!r}, but its server {belong}. Correct replicaSet.")


def cluster_time_of(timestamp: Timestamp) -> int:
    return timestamp.time << 32 | timestamp.inc


def timestamp_of(cluster_time: int) -> Timestamp:
    return Timestamp(cluster_time >> 32, cluster_time & 0xFFFF_FFFF)
