"""zero-cache, which reads the change source and serves Zero's clients."""

import hashlib
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path

from zerosources.embedded.node import ensure_packages, node_environment, node_executable
from zerosources.embedded.server import HOST, Server, answers_http
from zerosources.embedded.servers import PostgresServer


class ZeroCache(Server):
    """A single-node zero-cache with a custom change source.

    It always listens on all addresses. Each instance has a new admin password.

    Args:
        upstream_url: The stream's `ws://` or `wss://` URL, with its path and credentials. zero-cache writes it to its
            log.
        postgres: The server of this instance's own database, which is named after `data_dir`.
        app_id: ZERO_APP_ID.
        shard_num: ZERO_SHARD_NUM.
        port: The port for clients. zero-cache uses the two ports after it as well.
        env: More environment variables, such as ZERO_MUTATE_URL. They take precedence over those set here.
        supervise: Whether it is started again a second after it ends, which zero-cache relies on. It ends with status
            14 to be started again with an empty replica, and with 255 on errors.
    """

    name = "zero-cache"
    port_count = 3
    restart_pause_seconds = 1.0

    def __init__(
        self,
        data_dir: Path | str,
        *,
        upstream_url: str,
        postgres: PostgresServer,
        app_id: str = "zero",
        shard_num: int = 0,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        supervise: bool = False,
    ) -> None:
        super().__init__(data_dir, port=port)
        self.upstream_url = upstream_url
        self.replica_path = self.data_dir / "replica.db"
        self.admin_password = secrets.token_urlsafe()
        # The exit statuses of the processes that ended without being asked to, in order. Kept only with `supervise`.
        self.exit_statuses: list[int] = []
        self._postgres = postgres
        self._app_id = app_id
        self._shard_num = shard_num
        self._extra_environment = dict(env or {})
        self.is_supervised = supervise
        self._has_database = False
        self._supervisor: threading.Thread | None = None
        self._stopping = threading.Event()
        # Held while the process is replaced, so that `stop` never misses a process that is just being started.
        self._process_lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def restarts(self) -> int:
        """The number of times that it ended and the supervisor started it again."""
        return len(self.exit_statuses)

    def command(self) -> list[str]:
        program = ensure_packages() / "@rocicorp" / "zero" / "out" / "zero" / "src" / "cli.js"
        return [str(node_executable()), str(program)]

    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in node_environment().items() if not name.startswith("ZERO_")}
        database_url = self._postgres.uri(self._database)
        return {
            **inherited,
            "ZERO_UPSTREAM_TYPE": "custom",
            "ZERO_UPSTREAM_DB": self.upstream_url,
            "ZERO_CVR_DB": database_url,
            "ZERO_CHANGE_DB": database_url,
            "ZERO_REPLICA_FILE": str(self.replica_path),
            "ZERO_PORT": str(self.port),
            "ZERO_ADMIN_PASSWORD": self.admin_password,
            "ZERO_APP_ID": self._app_id,
            "ZERO_SHARD_NUM": str(self._shard_num),
            "ZERO_NUM_SYNC_WORKERS": "1",
            # Otherwise zero-cache generates an id, and it cannot start with one that begins with a hyphen.
            "ZERO_TASK_ID": f"{self.name}-{secrets.token_hex(8)}",
            # How long zero-cache waits for an older instance to give up the stream; there is none.
            "ZERO_CHANGE_STREAMER_STARTUP_DELAY_MS": "0",
            "ZERO_LOG_FORMAT": "json",
            "ZERO_ENABLE_TELEMETRY": "false",
            "DO_NOT_TRACK": "1",
            **self._extra_environment,
        }

    def is_ready(self) -> bool:
        return answers_http(self.port)

    def prepare(self) -> None:
        super().prepare()
        # Only once: a supervised zero-cache has to be started again even while PostgreSQL is down.
        if not self._has_database:
            self._postgres.create_database(self._database)
            self._has_database = True

    def launch(self) -> None:
        with self._process_lock:
            super().launch()
        if self.is_supervised and self._supervisor is None:
            self._stopping.clear()
            self._supervisor = threading.Thread(target=self._restart_when_it_ends, name=f"{self.name} supervisor")
            self._supervisor.start()

    def stop(self) -> None:
        self._stopping.set()
        with self._process_lock:
            super().stop()
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None

    def _restart_when_it_ends(self) -> None:
        while (process := self._process) is not None:
            status = process.wait()
            if self._stopping.is_set():
                return
            self.exit_statuses.append(status)
            if self._stopping.wait(self.restart_pause_seconds):
                return
            with self._process_lock:
                if not self._stopping.is_set():
                    super().launch()

    @property
    def _database(self) -> str:
        return f"zero_{hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:16]}"
