"""Several watchers, as processes: one leads, another takes over, none harms the log; and streams without any."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.deployment import Deployment
from tests.e2e.test_many import open_change_streams
from tests.e2e.workload import SCHEMA
from tests.embedded.waiting import wait_until
from tests.faults.faults import pause, resume
from tests.faults.tcp_proxy import TcpProxy
from zerosources.embedded.project import MANAGE, ServeCommand, WatchChangesCommand
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer

pytestmark = pytest.mark.timeout(300)

LEASE_SECONDS = 2.0
POLL_SECONDS = 0.5
"""How often a standby looks."""
BUSY_SECONDS = 4.0
"""What this machine may add."""
READERS = 20
FIRST_NUMBER = 1000
SOON_SECONDS = 120.0
"""For 20 streams in one process on a busy machine."""


class Watched:
    """A deployment with a Redis that may be cut off, and the watchers of a test."""

    def __init__(self, stack: ExitStack, folder: Path, mongo: MongoServer, postgres: PostgresServer) -> None:
        self.valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        self.proxy = stack.enter_context(TcpProxy(self.valkey.port))
        self.deployment = Deployment(
            stack, folder / "project", mongo, postgres, self.valkey, SCHEMA, LEASE_SECONDS=str(LEASE_SECONDS)
        )
        self.folder = folder
        self.watchers: list[WatchChangesCommand] = []
        self._count = 0

    def start(self, count: int = 1, **environment: str) -> list[WatchChangesCommand]:
        """New ones, all at the same moment."""
        first = self._count
        self._count += count
        new = [
            WatchChangesCommand(
                self.folder / f"watcher-{first + number}", environment={**self.deployment.environment, **environment}
            )
            for number in range(count)
        ]
        self.watchers += new
        for watcher in new:
            watcher.start(wait=False)
        return new

    def start_behind_proxy(self) -> WatchChangesCommand:
        (watcher,) = self.start(REDIS_URL=f"redis://127.0.0.1:{self.proxy.port}/0")
        return watcher

    def leader(self) -> WatchChangesCommand | None:
        """By the lease."""
        pid = self.leader_pid()
        return next((watcher for watcher in self.watchers if watcher.is_running and watcher.pid == pid), None)

    def leader_pid(self) -> int | None:
        with redis.Redis.from_url(self.valkey.url) as connection:
            (owner,) = [connection.get(key) for key in connection.scan_iter("*:leader")] or [None]
        return None if owner is None else int(owner.split(b":")[-2])

    def entries(self) -> list[tuple[str, str]]:
        """Of the log: the id of each entry, and that of the entry before it."""
        with redis.Redis.from_url(self.valkey.url) as connection:
            (key,) = connection.scan_iter("*:log")
            return [(entry_id.decode(), fields[b"p"].decode()) for entry_id, fields in connection.xrange(key)]

    def expect_whole_log(self) -> None:
        """Each entry follows the one before, and a document that is written now comes at the end."""
        before = self.entries()
        self.deployment.database.notes.insert_one({"n": 1})
        wait_until(lambda: len(self.entries()) > len(before), 10)
        entries = self.entries()
        assert [previous for _, previous in entries] == ["", *(entry_id for entry_id, _ in entries[:-1])]

    def status(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(MANAGE), "watch_changes", "--status", *arguments],
            env=self.deployment.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def deployed(run_dir: Path, mongo_server: MongoServer, postgres_server: PostgresServer) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(stack, run_dir / "leadership", mongo_server, postgres_server)


@pytest.fixture
def watched(deployed: Watched) -> Iterator[Watched]:
    """Without watchers."""
    yield deployed
    deployed.proxy.heal()
    for watcher in deployed.watchers:
        if watcher.is_running:
            resume(watcher)
        watcher.stop()
    deployed.watchers.clear()


def logged(watcher: WatchChangesCommand, text: str) -> int:
    """How often it says so in its log."""
    return watcher.log_path.read_text().count(text) if watcher.log_path.exists() else 0


def test_one_leads_and_another_takes_over(watched: Watched) -> None:
    """Two that start at the same moment: one leads. It is paused: the other leads within the lease. It wakes up: it appends
    nothing, says so and stands by. The other is killed, and it leads again."""
    two = watched.start(2)
    wait_until(lambda: sum(logged(watcher, "stands by") for watcher in two) == 1)
    wait_until(lambda: sum(logged(watcher, "leads as") for watcher in two) == 1)
    first = watched.leader()
    (second,) = (watcher for watcher in two if watcher is not first)
    assert first is not None
    app = watched.deployment.app_id
    assert logged(second, f"watcher of {app}: stands by, ") == 1
    assert logged(second, f":{first.pid}:") == 1
    watched.expect_whole_log()

    pause(first)
    paused_at = time.monotonic()
    wait_until(lambda: watched.leader() is second, 20)
    assert time.monotonic() - paused_at < LEASE_SECONDS + POLL_SECONDS + BUSY_SECONDS
    watched.expect_whole_log()
    resume(first)
    wait_until(lambda: logged(first, "stands by"), 10)
    assert logged(first, "CS303: Another watcher leads now.") == 1
    assert logged(first, f":{second.pid}:") == 1
    assert watched.leader() is second
    watched.expect_whole_log()

    second.kill()
    killed_at = time.monotonic()
    wait_until(lambda: watched.leader() is first, 20)
    assert time.monotonic() - killed_at < LEASE_SECONDS + POLL_SECONDS + BUSY_SECONDS
    watched.expect_whole_log()


def test_a_leader_that_is_cut_off(watched: Watched) -> None:
    """A leader that does not reach Redis any more leads no longer than its lease; when it does, it stands by."""
    cut_off = watched.start_behind_proxy()
    wait_until(lambda: watched.leader() is cut_off)
    (other,) = watched.start()
    wait_until(lambda: logged(other, "stands by"))
    watched.proxy.stop_passing()
    cut_at = time.monotonic()
    wait_until(lambda: watched.leader() is other, 20)
    assert time.monotonic() - cut_at < LEASE_SECONDS + POLL_SECONDS + BUSY_SECONDS
    wait_until(lambda: logged(cut_off, "CS303: The lease expired"), 10)
    watched.expect_whole_log()
    watched.proxy.heal()
    wait_until(lambda: logged(cut_off, f":{other.pid}:"), 20)
    assert watched.leader() is other
    watched.expect_whole_log()


def test_status(watched: Watched) -> None:
    """Who leads and who stands by, for people and as JSON; status 1 when nobody leads."""
    app = watched.deployment.app_id
    nobody = watched.status()
    assert nobody.returncode == 1
    assert f"No process watches {app}. Run manage.py watch_changes." in nobody.stderr
    two = watched.start(2)
    wait_until(lambda: sum(logged(watcher, "stands by") for watcher in two) == 1)
    leader = watched.leader()
    assert leader is not None
    watched.expect_whole_log()
    shown = watched.status("--json")
    assert shown.returncode == 0
    (found,) = json.loads(shown.stdout)
    assert (found["app"], found["standbys"]) == (app, 1)
    assert f":{leader.pid}:" in found["leader"]
    assert 0 < found["lease_seconds_left"] <= LEASE_SECONDS
    assert 0 <= found["tail_age_seconds"] < 60


def test_streams_without_a_watcher(watched: Watched) -> None:
    """Nobody leads: 20 streams read MongoDB, with a change stream each, and get every change in order. A watcher comes: all
    go back to its log."""
    server = watched.deployment.serve()
    asyncio.run(read_without_a_watcher(watched, server))


async def read_without_a_watcher(watched: Watched, server: ServeCommand) -> None:
    deployment = watched.deployment
    url = f"{server.stream_url(deployment.token)}?appID={deployment.app_id}&shardNum=0"
    async with connect(url, max_size=None) as connection:
        frames = [json.loads(frame) async for frame in connection]
    version = frames[0][2]["commitWatermark"]
    before = open_change_streams(deployment)  # of watchers that were killed
    url += f"&lastWatermark={version}&replicaVersion={version}"
    async with asyncio.TaskGroup() as tasks, _Readers(url, READERS) as readers:
        for reader in readers.all:
            tasks.create_task(reader.read())
        await readers.see(deployment, 100)
        assert open_change_streams(deployment) == before + READERS
        watched.start()
        await eventually(lambda: open_change_streams(deployment) == before + 1)
        await readers.see(deployment, 200)
        assert open_change_streams(deployment) == before + 1
        for reader in readers.all:
            assert reader.seen == sorted(reader.seen)
        server_log = server.log_path.read_text()
        assert server_log.count("back to the log") == READERS
        await readers.close()


class _Reader:
    """`seen` are the numbers of the documents that it was told of, each once, in the order in which they came first."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.seen: list[int] = []

    async def read(self) -> None:
        async for text in self.connection:
            frame = json.loads(text)
            if frame[0] == "data" and (number := frame[1].get("new", {}).get("n")) is not None:
                # Older ones come again with the first that the log has of this one's time.
                if number >= FIRST_NUMBER and number not in self.seen:
                    self.seen.append(number)
            elif frame[0] == "commit":
                await self.connection.send(json.dumps(["status", *frame[1:]]))


class _Readers:
    def __init__(self, url: str, count: int) -> None:
        self._url = url
        self._count = count
        self.all: Sequence[_Reader] = ()

    async def __aenter__(self) -> _Readers:
        connections = await asyncio.gather(*(connect(self._url, max_size=None) for _ in range(self._count)))
        self.all = [_Reader(connection) for connection in connections]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        await asyncio.gather(*(reader.connection.close() for reader in self.all))

    async def see(self, deployment: Deployment, until: int) -> None:
        """Writes documents up to the number `until`, and returns when all have been told of all."""
        for number in range(max(self.all[0].seen, default=FIRST_NUMBER - 1) + 1, FIRST_NUMBER + until):
            await asyncio.to_thread(deployment.database.orders.insert_one, {"n": number})
        wanted = list(range(FIRST_NUMBER, FIRST_NUMBER + until))
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: all(reader.seen == wanted for reader in self.all))
        for reader in self.all:
            assert reader.seen == wanted


async def eventually(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(SOON_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)
