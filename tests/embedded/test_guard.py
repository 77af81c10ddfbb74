"""guard.py and guarded.py: what becomes of a process whose launcher or server ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.embedded.waiting import wait_until
from zerosources.embedded.guarded import GuardedProcess

PYTHON = sys.executable

IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""

# Its child is in a session of its own, where no signal to a process group reaches it.
HAS_DETACHED_CHILD = """
import subprocess, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
print("child", child.pid, flush=True)
time.sleep(600)
"""

LAUNCHER = """
import sys, time
from pathlib import Path
from zerosources.embedded.servers import PostgresServer, ValkeyServer
servers = [ValkeyServer(Path(sys.argv[1]) / "valkey"), PostgresServer(Path(sys.argv[1]) / "postgres")]
for server in servers:
    server.start()
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def started() -> Iterator[list[GuardedProcess]]:
    """Processes that are stopped after the test."""
    processes: list[GuardedProcess] = []
    yield processes
    for process in processes:
        process.stop()


def test_exit_status(log_path: Path) -> None:
    """The guard exits with the status of its process."""
    assert GuardedProcess([PYTHON, "-c", "raise SystemExit(14)"], log_path=log_path).wait(30) == 14


def test_exit_status_of_signal(log_path: Path) -> None:
    """A process that a signal has ended has status 128 + its number."""
    process = GuardedProcess(["sleep", "600"], log_path=log_path)
    assert process.kill() == 128 + signal.SIGKILL


def test_output_goes_to_log(log_path: Path) -> None:
    """Standard output and error are appended to the log file."""
    log_path.write_text("earlier\n")
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr)"
    GuardedProcess([PYTHON, "-c", code], log_path=log_path).wait(30)
    assert log_path.read_text() == "earlier\nout\nerr\n"


def test_program_that_is_missing(log_path: Path) -> None:
    """A program that cannot be executed gives status 127 and says why in the log."""
    assert GuardedProcess(["no-such-program"], log_path=log_path).wait(30) == 127
    assert "no-such-program: [Errno 2]" in log_path.read_text()


def test_pid_is_that_of_the_process(log_path: Path, started: list[GuardedProcess]) -> None:
    """`pid` names the process itself and not its guard."""
    process = GuardedProcess(["sleep", "600"], log_path=log_path)
    started.append(process)
    assert process.pid != process.guard_pid
    assert psutil.Process(process.pid).name() == "sleep"


def test_stop_sends_the_stop_signal(log_path: Path) -> None:
    """The process gets the signal that was chosen for it."""
    process = GuardedProcess(["sleep", "600"], log_path=log_path, stop_signal=signal.SIGINT)
    assert process.stop() == 128 + signal.SIGINT


def test_stop_after_the_end(log_path: Path) -> None:
    """Stopping a process that has ended does nothing."""
    process = GuardedProcess([PYTHON, "-c", ""], log_path=log_path)
    process.wait(30)
    assert process.stop() == 0
    assert process.kill() == 0


def test_grace_time(log_path: Path) -> None:
    """A process that does not end by itself is killed after the grace time."""
    process = GuardedProcess([PYTHON, "-c", IGNORES_SIGTERM], log_path=log_path, grace_seconds=0.2)
    wait_until(lambda: "ready" in log_path.read_text())
    assert process.stop() == 128 + signal.SIGKILL


def test_wait_has_a_deadline(log_path: Path, started: list[GuardedProcess]) -> None:
    """Waiting for a process that does not end raises an error and leaves it running."""
    process = GuardedProcess(["sleep", "600"], log_path=log_path)
    started.append(process)
    with pytest.raises(TimeoutError, match=f"{process.pid} still runs after 0.1 s"):
        process.wait(0.1)
    assert process.is_running


@pytest.mark.parametrize("end", [GuardedProcess.stop, GuardedProcess.kill])
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the guard adopt orphans")
def test_no_orphans(end: object, log_path: Path) -> None:
    """What a process has started ends with it, in whatever session it is."""
    process = GuardedProcess([PYTHON, "-c", HAS_DETACHED_CHILD], log_path=log_path)
    child = wait_until(lambda: announced_child(log_path))
    end(process)
    assert not child.is_running()


def test_sigterm_to_the_guard(log_path: Path) -> None:
    """A guard that gets SIGTERM stops its process."""
    process = GuardedProcess(["sleep", "600"], log_path=log_path)
    os.kill(process.guard_pid, signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_killed_guard(log_path: Path) -> None:
    """The process of a killed guard does not outlive it."""
    process = GuardedProcess(["sleep", "600"], log_path=log_path)
    sleeper = psutil.Process(process.pid)
    os.kill(process.guard_pid, signal.SIGKILL)
    process.wait(30)
    wait_until(lambda: not sleeper.is_running() or sleeper.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.not_fast
def test_killed_launcher(tmp_path: Path) -> None:
    """A launcher that is killed leaves none of its servers' processes."""
    with subprocess.Popen([PYTHON, "-c", LAUNCHER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "ready\n"
        processes = psutil.Process(launcher.pid).children(recursive=True)
        assert len(processes) > 4, "two guards, two servers, and PostgreSQL's own processes"
        launcher.kill()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


def announced_child(log_path: Path) -> psutil.Process | None:
    words = log_path.read_text().split()
    return psutil.Process(int(words[1])) if len(words) == 2 else None
