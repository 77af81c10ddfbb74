"""What all embedded servers have in common."""

import abc
import http.client
import os
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from zerosources.embedded.guarded import GuardedProcess
from zerosources.embedded.ports import free_port

HOST = "127.0.0.1"
POLL_SECONDS = 0.05
LOG_TAIL_BYTES = 4000


HTTP_TIMEOUT_SECONDS = 1


class ServerError(Exception):
    """A server did not start, or ended when it was needed. The message holds the end of its log."""


class Server(abc.ABC):
    """One server with its data folder, its log file and its port, all kept over restarts.

    As a context manager it is started on entry and stopped on exit.

    Args:
        data_dir: the server's own folder; made if it is missing.
        port: a TCP port; a free one by default.
    """

    name: str
    stop_signal = signal.SIGTERM
    grace_seconds = 10.0
    unprivileged = False
    # A start takes one or two seconds; a loaded machine with two cores may need much longer.
    start_seconds = 90.0
    # Consecutive ports that the server listens on.
    port_count = 1
    # Whether something starts it again when it ends while it is waited for.
    is_supervised = False

    def __init__(self, data_dir: Path | str, *, port: int | None = None) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.log_path = self.data_dir / f"{self.name}.log"
        self._port = port
        self._process: GuardedProcess | None = None
        self._log_start = 0

    @abc.abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abc.abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers now. Must not wait for more than about a second."""

    def environment(self) -> dict[str, str]:
        """The server's environment variables."""
        return dict(os.environ)

    def prepare(self) -> None:
        """Make what the server needs before its process can start."""
        self.data_dir.mkdir(parents=True, exist_ok=True)

    def start(self, *, wait: bool = True) -> None:
        """Start the server and, if `wait`, return when it answers. No effect if it runs already.

        Raises:
            ServerError: it ended, or did not answer in time. It has been stopped then.
        """
        if not self.is_running:
            self.launch()
        if wait:
            self.wait_until_ready()

    def launch(self) -> None:
        """Start the server's process. The one before must have ended."""
        if self._process is not None:
            # Takes in its status and closes its pipes, if it has ended without anyone asking.
            self._process.stop()
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.prepare()
        self._process = GuardedProcess(
            self.command(),
            log_path=self.log_path,
            environment=self.environment(),
            directory=self.data_dir,
            stop_signal=self.stop_signal,
            grace_seconds=self.grace_seconds,
            unprivileged=self.unprivileged,
        )

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """Return when the server answers.

        Args:
            timeout: in seconds; the server's own by default.

        Raises:
            ServerError: it ended, or did not answer in time. It has been stopped then.
        """
        seconds = self.start_seconds if timeout is None else timeout
        deadline = time.monotonic() + seconds
        try:
            while not (self.is_running and self.is_ready()):
                if not self.is_supervised:
                    self.check_running()
                if time.monotonic() >= deadline:
                    raise ServerError(f"{self.name} did not answer within {seconds:g} s. {self._log_excerpt()}")
                time.sleep(POLL_SECONDS)
        except ServerError:
            self.stop()
            raise

    def stop(self) -> None:
        """Ask the server to end, and wait until it and all its processes have. No effect if it does not run."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """SIGKILL the server, and wait until it and all its processes have ended."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Stop and start again, with the same port and data."""
        self.stop()
        self.start()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """The process id of the server itself, not of its guard.

        Raises:
            ServerError: it has never been started.
        """
        if self._process is None:
            raise ServerError(f"{self.name} has not been started.")
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """128 + N if signal N ended the server, None while it runs or before it has been started."""
        return None if self._process is None else self._process.exit_status

    @property
    def port(self) -> int:
        if self._port is None:
            self._port = free_port(self.port_count)
        return self._port

    def check_running(self) -> None:
        """Raises ServerError if the server has ended, or has never been started."""
        if not self.is_running:
            raise ServerError(f"{self.name} ended with status {self.exit_status}. {self._log_excerpt()}")

    def log_tail(self) -> str:
        """The end of what the server has written to its log since it was last started."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - LOG_TAIL_BYTES))
            return log.read().decode(errors="replace").strip()

    def _log_excerpt(self) -> str:
        return f"The end of {self.log_path}:\n{self.log_tail()}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def answers_http(port: int, path: str = "/") -> bool:
    """Whether a GET on this port of this machine is answered with 200 within a second."""
    connection = http.client.HTTPConnection(HOST, port, timeout=HTTP_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
