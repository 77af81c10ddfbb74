"""A change source of its own for one test: a MongoDB database, Django's database, watchers, servers, zero-caches."""

import json
import uuid
from contextlib import ExitStack, suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pymongo
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import AppDefinition
from changesource.tables.values import CODEC_OPTIONS
from tests.e2e.recording_proxy import RecordingProxy
from tests.embedded.django_database import Management, make_sqlite
from tests.embedded.waiting import wait_until
from tests.node.tools import ReplicaContents, ReplicaError, read_replica, validate_frames
from zerosources.embedded.project import ServeCommand, WatchChangesCommand, project_environment
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.zero_cache import ZeroCache

Rows = dict[str, list[dict[str, Any]]]

CONVERGENCE_SECONDS = 90


class Deployment:
    """Starts nothing by itself; everything that it is told to start ends with `stack`."""

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        mongo: MongoServer,
        postgres: PostgresServer,
        valkey: ValkeyServer | None,
        schema: dict[str, Any],
        mappings: dict[str, Any] | None = None,
        permissions: dict[str, Any] | None = None,
        **environment: str,
    ) -> None:
        self.stack = stack
        self.folder = folder
        self.postgres = postgres
        self.valkey = valkey
        self.app_id = f"app_{uuid.uuid4().hex[:10]}"
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo.uri(self.app_id))
        stack.callback(client.close)
        self.client = client
        self.database: Database[dict[str, Any]] = client.get_default_database(
            codec_options=CODEC_OPTIONS, write_concern=WriteConcern("majority")
        )
        folder.mkdir(parents=True)
        self.environment = {
            **project_environment(
                folder / "django.sqlite3",
                mongodb_uri=mongo.uri(self.app_id),
                secret_key="for tests only",
                redis_url=valkey.url if valkey else "",
            ),
            "DJANGO_SETTINGS_MODULE": "zerosources.settings",
            "HEARTBEAT_SECONDS": "2",
            "LEASE_SECONDS": "2",
            "NOTES_APP": self.app_id,  # for tests/e2e/notes_app
            **environment,
        }
        self._management = Management(self.environment)
        stack.callback(self._management.close)
        if "DATABASE_URL" not in environment:  # of a migrated database
            make_sqlite(folder / "django.sqlite3")
        self.manage(*self._load_schema(schema, mappings or {}, permissions))
        self.token = self.manage("create_client", "zero-cache", "--app", self.app_id).splitlines()[-1]
        self.definition = published_definition(schema, mappings or {}, self.app_id)

    def manage(self, *arguments: str) -> str:
        return self._management.run(*arguments)

    def publish(
        self,
        schema: dict[str, Any],
        mappings: dict[str, Any],
        permissions: dict[str, Any] | None = None,
        queries: dict[str, Any] | None = None,
    ) -> None:
        self.manage(*self._load_schema(schema, mappings, permissions, queries))
        self.definition = published_definition(schema, mappings, self.app_id)

    def _load_schema(
        self,
        schema: dict[str, Any],
        mappings: dict[str, Any],
        permissions: dict[str, Any] | None,
        queries: dict[str, Any] | None = None,
    ) -> list[str]:
        """The command that publishes this, from files that it writes."""
        path = self.folder / "schema.json"
        path.write_text(json.dumps(schema))
        arguments = []
        for option, content in (("mappings", mappings), ("permissions", permissions), ("queries", queries)):
            if content:
                option_path = self.folder / f"{option}.json"
                option_path.write_text(json.dumps(content))
                arguments += [f"--{option}", str(option_path)]
        return ["load_schema", str(path), *arguments, "--app", self.app_id, "--publish"]

    def serve(self, name: str = "serve") -> ServeCommand:
        server = ServeCommand(self.folder / name, environment=self.environment)
        self.stack.callback(server.stop)
        server.start()
        return server

    def watch(self, name: str = "watcher") -> WatchChangesCommand:
        watcher = WatchChangesCommand(self.folder / name, environment=self.environment)
        self.stack.callback(watcher.stop)
        watcher.start()
        return watcher

    def start(self) -> ServeCommand:
        """A server, and a watcher where one is needed beside it."""
        if self.valkey is not None:
            self.watch()
        return self.serve()

    def proxy(self, server: ServeCommand) -> RecordingProxy:
        return self.stack.enter_context(RecordingProxy(server.stream_url(self.token)))

    def zero_cache(self, proxy: RecordingProxy, shard_num: int = 0, **environment: str) -> ZeroCache:
        zero_cache = ZeroCache(
            self.folder / f"zero-cache-{shard_num}",
            upstream_url=proxy.stream_url(),
            postgres=self.postgres,
            app_id=self.app_id,
            shard_num=shard_num,
            env=environment,
        )
        self.stack.callback(zero_cache.stop)
        zero_cache.start(wait=False)
        return zero_cache

    def expected_rows(self) -> Rows:
        """What the rules give for the documents in MongoDB now."""
        rows: Rows = {}
        for definition in self.definition.tables:
            table = CompiledTable(definition)
            documents = self.database[definition.collection].find({})
            rows[table.name] = [row for document in documents for row in table.rows(document, [])]
        return self.comparable(rows)

    def _published(self, rows: Rows) -> Rows:
        """Without Zero's own tables."""
        names = {table.server_name for table in self.definition.tables}
        return {table: table_rows for table, table_rows in rows.items() if table in names}

    def comparable(self, rows: Rows) -> Rows:
        """Rows in one order, with numbers as doubles and json as values: SQLite keeps the JSON text `1.50` as a number, since
        a column of type json has numeric affinity."""

        def value_of(kind: str, value: Any) -> Any:
            if value is None:
                return None
            if kind == "number":
                return float(value)
            return json.loads(value) if kind == "json" and isinstance(value, str) else value

        kinds = {
            table.server_name: {column.server_name: column.type for column in table.columns}
            for table in self.definition.tables
        }
        return {
            table: sorted_rows(
                [
                    {name: value_of(kinds[table][name], row[name]) for name in kinds[table] if name in row}
                    for row in table_rows
                ]
            )
            for table, table_rows in rows.items()
        }

    def wait_until_equal(
        self, zero_cache: ZeroCache, timeout: float = CONVERGENCE_SECONDS, *, expected: Rows | None = None
    ) -> ReplicaContents:
        """Waits until the replica holds what MongoDB holds, or `expected`, which may leave tables out; nothing may be writing
        any more."""
        if expected is None:
            expected = self.expected_rows()
        last: dict[str, Rows] = {}
        seen: list[FileState] = []

        def is_equal() -> ReplicaContents | None:
            zero_cache.check_running()
            # Reading takes a process of its own, which would keep zero-cache from what is waited for.
            if (state := file_state(zero_cache.replica_path)) == seen:
                return None
            contents = replica_or_none(zero_cache)
            seen[:] = [] if contents is None else state
            if contents is not None:
                contents = replace(contents, rows=self._published(contents.rows))
            last["rows"] = {} if contents is None else self.comparable(contents.rows)
            return contents if last["rows"] == expected else None

        try:
            return wait_until_not_none(is_equal, timeout)
        except AssertionError:
            raise AssertionError(difference(expected, last["rows"])) from None


def wait_until_not_none(condition: Any, timeout: float) -> Any:
    found: list[Any] = []

    def holds() -> bool:
        result = condition()
        found[:] = [result]
        return result is not None

    wait_until(holds, timeout)
    return found[0]


class FileState(NamedTuple):
    """Different after a file was written to."""

    name: str
    size: int
    modified_ns: int


def file_state(replica: Path) -> list[FileState]:
    """Of a replica and its write-ahead logs: each commit of zero-cache changes it."""
    states = []
    for path in sorted(replica.parent.glob(f"{replica.name}*")):
        with suppress(FileNotFoundError):  # SQLite takes a log away when it is empty
            stat = path.stat()
            states.append(FileState(path.name, stat.st_size, stat.st_mtime_ns))
    return states


def replica_or_none(zero_cache: ZeroCache, tables: tuple[str, ...] = ()) -> ReplicaContents | None:
    """None while zero-cache has no replica with these tables."""
    if not zero_cache.replica_path.exists():
        return None
    try:
        return read_replica(zero_cache.replica_path, tables)
    except ReplicaError:
        return None


def sorted_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))


def difference(expected: Rows, found: Rows) -> str:
    lines = []
    for table, rows in expected.items():
        there = [json.dumps(row, sort_keys=True, default=str) for row in found.get(table, [])]
        wanted = [json.dumps(row, sort_keys=True, default=str) for row in rows]
        missing = sorted(set(wanted) - set(there))
        surplus = sorted(set(there) - set(wanted))
        if missing or surplus:
            lines.append(f"{table}: {len(missing)} rows missing or different, {len(surplus)} that should not be so")
            lines += [f"  expected {row}" for row in missing[:3]] + [f"  found    {row}" for row in surplus[:3]]
    return "The replica differs from MongoDB.\n" + "\n".join(lines)


def published_definition(schema: dict[str, Any], mappings: dict[str, Any], app_id: str) -> AppDefinition:
    """What `load_schema` makes of a schema in Zero's form and its mappings, worked out here once more."""
    tables = []
    for name, table in schema["tables"].items():
        server_name = table.get("serverName", name)
        mapping = dict(mappings.get(name, {}))
        collection = mapping.pop("source", server_name)
        filter_columns = mapping.pop("filterColumns", [])
        indexes = mapping.pop("indexes", [])
        columns = [
            {
                "name": column_name,
                "serverName": column.get("serverName", column_name),
                "field": column.get("serverName", column_name),
                "type": column["type"],
                "optional": column.get("optional", False),
            }
            for column_name, column in table["columns"].items()
        ]
        tables.append(
            {
                "name": name,
                "serverName": server_name,
                "collection": collection,
                "columns": columns,
                "primaryKey": table["primaryKey"],
                "mapping": json.dumps(mapping) if mapping else "",
                "filterColumns": filter_columns,
                "indexes": indexes,
            }
        )
    return AppDefinition.from_json({"app": app_id, "source": "default", "tables": tables, "relationships": {}})


def check_protocol(proxy: RecordingProxy) -> None:
    """Every frame that went through is one that zero-cache's own schemas take, every transaction is whole, and watermarks
    only grow on a connection, from the one that it resumed at."""
    assert validate_frames(proxy.frames) == []
    for connection in proxy.connections:
        watermarks = [connection.last_watermark, *(transaction.watermark for transaction in connection.transactions())]
        assert all(earlier < later for earlier, later in pairwise(watermarks)), watermarks
