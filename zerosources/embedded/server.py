"""The base class of all embedded servers."""

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
    """A server did not start, or ended while it was needed. The message holds the end of its log."""


class Server(abc.ABC):
    """One server with its data folder, its log file and its port, which it keeps over restarts.

    As a context manager, it starts on entry and stops on exit.

    Args:
        data_dir: The server's own folder, which is created if it is missing.
        port: A TCP port; by default a free one.
    """

    name: str
    stop_signal = signal.SIGTERM
    grace_seconds = 10.0
    unprivileged = False
    # A start takes one or two seconds. A loaded machine with two cores may need much longer.
    start_seconds = 90.0
    # The number of consecutive ports on which the server listens.
    port_count = 1
    # Whether a supervisor starts it again if it ends while a caller waits for it.
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
        """Creates what the server needs before its process can start."""
        self.data_dir.mkdir(parents=True, exist_ok=True)

    def start(self, *, wait: bool = True) -> None:
        """Starts the server and, if `wait`, returns when it answers. Does not start a server that runs already.

        Raises:
            ServerError: The server ended, or did not answer in time and was stopped.
        """
        if not self.is_running:
            self.launch()
        if wait:
            self.wait_until_ready()

    def launch(self) -> None:
        """Starts the server's process. The previous process must have ended."""
        if self._process is not None:
            # Reads its status and closes its pipes if it has ended without being asked to.
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
        """Returns when the server answers.

        Args:
            timeout: A time in seconds; by default `start_seconds`.

        Raises:
            ServerError: The server ended, or did not answer in time and was stopped.
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
        """Asks the server to end, and waits until it and all its processes have ended. Does nothing if it does not run."""
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """Sends SIGKILL to the server, and waits until it and all its processes have ended."""
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        """Stops the server and starts it again, with the same port and data."""
        self.stop()
        self.start()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def pid(self) -> int:
        """The process id of the server itself, not of its guard.

        Raises:
            ServerError: The server has never been started.
        """
        if self._process is None:
            raise ServerError(f"{self.name} has not been started.")
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """The exit status of the server, 128 + N if signal N ended it. None while it runs, and before it was started."""
        return None if self._process is None else self._process.exit_status

    @property
    def port(self) -> int:
        if self._port is None:
            self._port = free_port(self.port_count)
        return self._port

    def check_running(self) -> None:
        """Raises `ServerError` if the server has ended, or has never been started."""
        if not self.is_running:
            raise ServerError(f"{self.name} ended with status {self.exit_status}. {self._log_excerpt()}")

    def log_tail(self) -> str:
        """Returns the end of what the server has written to its log since it was last started."""
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
    """Whether this port of this machine answers a GET with 200 within a second."""
    connection = http.client.HTTPConnection(HOST, port, timeout=HTTP_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
