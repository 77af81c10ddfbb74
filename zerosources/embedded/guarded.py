"""A process under a guard, as its launcher sees it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")

# How long the guard needs, in addition to the time of grace, to end what a killed server has left.
GUARD_EXIT_SECONDS = 10


class GuardedProcess:
    """A `command` that runs under a guard, and ends when this process ends, however that happens.

    Args:
        command: The program and its arguments.
        log_path: The file to which its standard output and error are appended.
        environment: All its environment variables; None for those of this process.
        directory: Its working directory.
        stop_signal: The signal that `stop` sends.
        grace_seconds: How long `stop` waits for the process before killing it.
        unprivileged: Whether root runs it as another user. Has no effect for an ordinary user.

    Raises:
        OSError: The guard could not be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log_path: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_seconds: float = 10,
        unprivileged: bool = False,
    ) -> None:
        self._grace_seconds = grace_seconds
        guard = [sys.executable, "-I", "-S", str(GUARD)]
        options = ["--stop-signal", str(int(stop_signal)), "--grace-seconds", str(grace_seconds)]
        if unprivileged:
            options.append("--unprivileged")
        with log_path.open("ab") as log:
            self._guard = subprocess.Popen(
                [*guard, *options, "--", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                cwd=directory,
                # Ctrl-C must reach only the launcher, which stops the servers in order.
                start_new_session=True,
            )
        assert self._guard.stdout is not None  # noqa: S101
        announcement = self._guard.stdout.readline()
        if not announcement:
            self._guard.wait()
            self._close_pipes()
            raise OSError(f"The guard of {command[0]} did not start, see {log_path}.")
        self.pid = int(announcement)

    @property
    def guard_pid(self) -> int:
        return self._guard.pid

    @property
    def is_running(self) -> bool:
        return self._guard.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The exit status of the process, 128 + N if signal N ended it. None while it runs."""
        return self._guard.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Waits until the process and everything that it has started have ended. Returns its exit status.

        Raises:
            TimeoutError: The process still runs after `timeout` seconds.
        """
        try:
            status = self._guard.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"Process {self.pid} still runs after {timeout} s.") from None
        self._close_pipes()
        return status

    def stop(self) -> int:
        """Asks the process to end and waits until it has. Returns its exit status, also if it has ended already."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        return self.wait(2 * self._grace_seconds + GUARD_EXIT_SECONDS)

    def kill(self) -> int:
        """Sends SIGKILL to the process itself, and waits until the guard has ended what it left. Returns its exit status."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        return self.wait(self._grace_seconds + GUARD_EXIT_SECONDS)

    def _close_pipes(self) -> None:
        for pipe in (self._guard.stdin, self._guard.stdout):
            if pipe is not None:
                pipe.close()
