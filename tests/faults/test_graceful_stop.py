"""SIGTERM to `serve` and `watch_changes`, whatever they are doing and whoever does not answer: status 0 within ten seconds,
sockets closed with 1012, nothing torn, and nothing in the log that looks like a fault."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.deployment import Deployment
from tests.e2e.raw_websocket import CLOSE, RawConnection, handshake
from tests.e2e.workload import SCHEMA, Workload
from tests.embedded.waiting import wait_until
from tests.faults.faults import pause, resume
from zerosources.embedded.project import MANAGE, STREAM_PATH, ProjectServer, ServeCommand, WatchChangesCommand
from zerosources.embedded.server import Server
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer

pytestmark = pytest.mark.timeout(300)

STOP_SECONDS = 10.0
FAULTS_OF_OURS = ("it is cut off", "Traceback", "was destroyed but it is pending", "was never retrieved", "Unhandled")
BIG_DOCUMENTS = 2_000
BIG_TEXT = "x" * 10_000


class Servers:
    """A deployment on a MongoDB and a Redis of its own, which may be paused."""

    def __init__(self, stack: ExitStack, folder: Path, postgres: PostgresServer) -> None:
        self.mongo = stack.enter_context(MongoServer(folder / "mongodb", test_commands=True))
        self.valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        self.deployment = Deployment(
            stack, folder / "project", self.mongo, postgres, self.valkey, SCHEMA, LEASE_SECONDS="5"
        )
        self.folder = folder
        self._count = 0
        self._new: list[ProjectServer] = []

    def new(self, command: type[ProjectServer], **environment: str) -> Any:
        """Not started."""
        self._count += 1
        server = command(
            self.folder / f"{command.name}-{self._count}",
            environment={**self.deployment.environment, **environment},
        )
        self._new.append(server)
        return server

    def stop_all(self) -> None:
        for server in self._new:
            server.stop()

    def started(self, command: type[ProjectServer], **environment: str) -> Any:
        server = self.new(command, **environment)
        server.start()
        return server

    def target(self, shard_num: int, version: str = "") -> str:
        resume_query = f"&lastWatermark={version}&replicaVersion={version}" if version else ""
        deployment = self.deployment
        return f"{STREAM_PATH}?token={deployment.token}&appID={deployment.app_id}&shardNum={shard_num}{resume_query}"


@pytest.fixture(scope="module")
def all_servers(run_dir: Path, postgres_server: PostgresServer) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack, run_dir / "graceful-stop", postgres_server)


@pytest.fixture
def servers(all_servers: Servers) -> Iterator[Servers]:
    """Nothing that a test has started is left to the next."""
    yield all_servers
    all_servers.stop_all()


class Client:
    """Reads a stream in a thread, until it is closed; from the beginning, or from `read` on. `frames` are those that it has
    been sent."""

    def __init__(self, port: int, target: str, *, reads: bool = True) -> None:
        self._connection = RawConnection(port)
        self._connection.send(handshake(target))
        assert self._connection.response().code == 101
        self.frames: list[str] = []
        self.code: int | None = None
        self._thread = threading.Thread(target=self._read)
        if reads:
            self.read()

    def read(self) -> None:
        self._thread.start()

    def wait(self) -> int | None:
        """The code of the frame that closed it; 1006 if none came."""
        self._thread.join()
        self._connection.socket.close()
        return self.code

    def _read(self) -> None:
        try:
            while (message := self._connection.message()).opcode != CLOSE:
                self.frames.append(message.payload.decode())
        except (EOFError, OSError):
            self.code = 1006
            return
        self.code = int.from_bytes(message.payload[:2])


def open_without_reading(port: int, target: str) -> RawConnection:
    connection = RawConnection(port)
    connection.send(handshake(target))
    assert connection.response().code == 101
    return connection


def send_signals(server: Server, *numbers: int) -> float:
    """When they were sent."""
    for number in numbers:
        os.kill(server.pid, number)
    return time.monotonic()


def expect_good_end(server: Server, told_at: float) -> float:
    """How long it took."""
    wait_until(lambda: not server.is_running, 30)
    took = time.monotonic() - told_at
    log = server.log_path.read_text()
    assert server.exit_status == 0, log[-3000:]
    assert took < STOP_SECONDS, f"{took:.1f} s\n{log[-3000:]}"
    assert [line for line in log.splitlines() if any(text in line for text in FAULTS_OF_OURS)] == [], log[-3000:]
    return took


def expect_whole(frames: Sequence[str]) -> None:
    """Nothing is between a commit and the next begin, nothing is begun twice."""
    is_open = False
    for frame in frames:
        kind = json.loads(frame)[0]
        if kind == "begin":
            assert not is_open
            is_open = True
        elif kind in ("commit", "rollback"):
            assert is_open
            is_open = False
        elif kind == "data":
            assert is_open


@contextmanager
def paused(server: Server) -> Iterator[None]:
    pause(server)
    try:
        yield
    finally:
        resume(server)


def is_listening(server: Server) -> bool:
    try:
        RawConnection(server.port).socket.close()
    except OSError:
        return False
    return True


def snapshot_version(servers: Servers, server: ServeCommand, shard_num: int) -> str:
    client = Client(server.port, servers.target(shard_num))
    assert client.wait() == 1000
    version: str = json.loads(client.frames[0])[2]["commitWatermark"]
    return version


def test_under_load(servers: Servers) -> None:
    """500 writes a second, live streams, a snapshot under way, a MongoDB transaction that a slow stream is being sent, a
    client that reads nothing, and two signals: all who read are closed with 1012 and have whole transactions, but for the
    one that is dropped; the standby of the watcher leads at once."""
    database = servers.deployment.database
    database.notes.insert_many([{"_id": f"big-{i}", "text": BIG_TEXT} for i in range(BIG_DOCUMENTS)])
    watchers = [servers.started(WatchChangesCommand) for _ in range(2)]
    server: ServeCommand = servers.started(ServeCommand)
    version = snapshot_version(servers, server, 0)
    with Workload(database, seed=3, rate=500):
        live = [Client(server.port, servers.target(0, version)) for _ in range(3)]
        wait_until(lambda: all(client.frames for client in live))
        slow = Client(server.port, servers.target(0, version), reads=False)
        stalled = open_without_reading(server.port, servers.target(1))
        wait_until(lambda: f"{servers.deployment.app_id}/1: snapshot for" in server.log_path.read_text())
        with servers.deployment.client.start_session() as session, session.start_transaction():
            database.ledger.insert_many(
                [{"_id": f"t-{i}", "transaction": "t", "of": 3_000, "text": BIG_TEXT} for i in range(3_000)],
                session=session,
            )
        snapshot = Client(server.port, servers.target(2))
        wait_until(lambda: len(snapshot.frames) > 1)
        told_at = send_signals(server, signal.SIGTERM, signal.SIGTERM)
        slow.read()
        assert [client.wait() for client in live] == [1012] * len(live)
        assert not is_listening(server), "who was closed would come back to it at once"
        assert snapshot.wait() in (1012, 1000)
        assert slow.wait() == 1012
        expect_good_end(server, told_at)
        stalled.socket.close()
        for client in (*live, slow, snapshot):
            expect_whole(client.frames)
        expect_handover(watchers)


def expect_handover(watchers: Sequence[WatchChangesCommand]) -> None:
    """The leader gets a signal, and the other leads at once."""
    (leader,) = (watcher for watcher in watchers if "leads as" in watcher.log_path.read_text())
    (standby,) = (watcher for watcher in watchers if watcher is not leader)
    assert "stands by" in standby.log_path.read_text()
    told_at = send_signals(leader, signal.SIGTERM)
    wait_until(lambda: "leads as" in standby.log_path.read_text(), 10)
    assert time.monotonic() - told_at < 1.5
    expect_good_end(leader, told_at)
    expect_good_end(standby, send_signals(standby, signal.SIGINT))


@pytest.mark.parametrize("silent", ["mongo", "valkey"])
def test_a_server_does_not_answer(servers: Servers, silent: str) -> None:
    """MongoDB, or Redis, is silent while streams are open and a snapshot is under way."""
    watcher: WatchChangesCommand = servers.started(WatchChangesCommand)
    server: ServeCommand = servers.started(ServeCommand)
    wait_until(lambda: "leads as" in watcher.log_path.read_text())
    version = snapshot_version(servers, server, 0)
    live = Client(server.port, servers.target(0, version))
    servers.deployment.database.orders.insert_one({"n": 1})
    wait_until(lambda: live.frames)
    stalled = open_without_reading(server.port, servers.target(1))
    with paused(getattr(servers, silent)):
        told_at = [send_signals(each, signal.SIGTERM) for each in (server, watcher)]
        for each, at in zip((server, watcher), told_at, strict=True):
            expect_good_end(each, at)
    assert live.wait() == 1012
    stalled.socket.close()


def test_a_server_that_watches(servers: Servers) -> None:
    """Without Redis: the log is in the process, which watches as well."""
    server: ServeCommand = servers.started(ServeCommand, REDIS_URL="")
    version = snapshot_version(servers, server, 0)
    live = Client(server.port, servers.target(0, version))
    with Workload(servers.deployment.database, seed=5, rate=500):
        wait_until(lambda: live.frames)
        told_at = send_signals(server, signal.SIGTERM)
        assert live.wait() == 1012
        expect_good_end(server, told_at)
    expect_whole(live.frames)


@pytest.mark.parametrize("command", [ServeCommand, WatchChangesCommand])
def test_at_the_start(servers: Servers, command: type[ProjectServer]) -> None:
    """Signals at any moment from the first on, which is when Python has begun."""
    before_django = servers.new(command, DJANGO_SETTINGS_MODULE="tests.faults.settings_that_wait")
    for delay_seconds, number, server in (
        (0.0, signal.SIGTERM, before_django),
        (0.5, signal.SIGINT, servers.new(command)),
        (1.0, signal.SIGTERM, servers.new(command)),
    ):
        server.start(wait=False)
        wait_until(lambda pid=server.pid: catches_sigterm(pid), 20)
        due = time.monotonic() + delay_seconds
        wait_until(lambda due=due: time.monotonic() > due)
        expect_good_end(server, send_signals(server, number, number))


def catches_sigterm(pid: int) -> bool:
    """By Linux. SIGINT is caught by Python itself as soon as it runs, and does not tell."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


IMPORTS = """
import os, signal
from changesource.stopping import end_when_told
end_when_told()
class Told:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGTERM)
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
{statement}
raise SystemExit(3)
"""


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("class Model: name = Told()", id="a class is made"),
        pytest.param("Told()", id="a finalizer runs"),
    ],
)
def test_in_an_import(statement: str) -> None:
    """Where Python would turn an exception of the signal into another one, or drop it."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(statement=statement)], cwd=MANAGE.parent, capture_output=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (0, b"")


NEVER_ENDS = """
import time
from changesource import stopping
stopping.STOP_SECONDS = 0.3
stopping.end_when_told()
stopping.call_when_told(lambda: None)
print("runs", flush=True)
while True:
    time.sleep(1)
"""


def test_what_hangs_is_cut_off() -> None:
    """A process that does not end by itself, since a thread of it waits for ever, ends all the same."""
    process = subprocess.Popen([sys.executable, "-c", NEVER_ENDS], stdout=subprocess.PIPE, cwd=MANAGE.parent)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"runs\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0
    finally:
        process.kill()
        process.communicate()
