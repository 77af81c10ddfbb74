"""Large transactions, large documents and long backlogs take bounded memory, and whoever breaks down in the middle of one
costs nothing. With BIG_THINGS=1 a transaction has 100,000 operations (`make big-things`)."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.benchmarks.__main__ import stream_url, take_snapshot
from tests.benchmarks.raw_client import RawClient
from tests.e2e.deployment import Deployment
from tests.e2e.workload import SCHEMA
from tests.embedded.waiting import wait_until
from tests.faults.faults import pause, resume
from zerosources.embedded.project import ServeCommand, WatchChangesCommand
from zerosources.embedded.server import Server
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer

pytestmark = pytest.mark.timeout(600)

OPERATIONS = 100_000 if os.environ.get("BIG_THINGS") else 10_000
TEXT = "x" * 1_000
MAX_BYTES = 512 * 2**20
"""Of each of our processes, whatever passes through it."""
MAX_GROWTH_BYTES = 64 * 2**20
"""Of each of our processes by documents of usual sizes, however many there are."""
STALL_SECONDS = 4

ELEMENTS = 100_000 if os.environ.get("BIG_THINGS") else 20_000
ARRAY_BYTES = 15_500_000 if os.environ.get("BIG_THINGS") else 9_000_000
"""Of a document before and after an update: the event of it is larger than 16 MB."""

TABLES: dict[str, Any] = {
    "tables": {
        **SCHEMA["tables"],
        "elements": {
            "name": "elements",
            "columns": {"parent": {"type": "string"}, "id": {"type": "number"}, "text": {"type": "string"}},
            "primaryKey": ["parent", "id"],
        },
    },
    "relationships": {},
}
MAPPINGS = {
    "elements": {
        "source": "parents",
        "pipeline": [
            {"$unwind": "$elements"},
            {"$project": {"_id": 0, "parent": "$_id", "id": "$elements.id", "text": "$elements.text"}},
        ],
    }
}


@dataclass
class Received:
    """What a client got: the rows of each commit that has some, how often a transaction was rolled back, and the frames of
    the newest commit."""

    commits: list[int] = field(default_factory=list)
    rollbacks: int = 0
    rows: list[bytes] = field(default_factory=list)


class Client:
    """Resumes at `watermark` and reads. It acknowledges commits."""

    def __init__(self, running: "Running", watermark: str) -> None:
        resume = f"&lastWatermark={watermark}&replicaVersion={running.replica_version}"
        self._client = RawClient(stream_url(running.deployment, running.server) + resume)
        self._frames = iter(self._client)
        self._running = running
        self._rows: list[bytes] | None = None
        self.received = Received()

    def read_until(self, condition: Callable[[Received], bool]) -> Received:
        """Until it holds after a frame of any kind."""
        while not condition(self.received):
            self.read()
        return self.received

    def read(self) -> None:
        """One frame. `Zero`: nothing but data comes within a transaction, and no data outside of one."""
        frame = next(self._frames)
        match json.loads(frame[: frame.index(b",")] + b"]")[0]:
            case "begin":
                assert self._rows is None, "a begin within a transaction"
                self._rows = []
            case "data":
                assert self._rows is not None, "data outside of a transaction"
                self._rows.append(frame)
            case "rollback":
                assert self._rows is not None, "a rollback outside of a transaction"
                self._rows = None
                self.received.rollbacks += 1
            case "commit":
                assert self._rows is not None, "a commit outside of a transaction"
                if self._rows:
                    self.received.commits.append(len(self._rows))
                    self.received.rows = self._rows
                self._rows = None
                self._client.send(b'["status",{"tag":"commit"},' + frame[frame.rindex(b'{"watermark"') :])
                self._running.watermark = max(self._running.watermark, json.loads(frame)[2]["watermark"])

    @property
    def open_rows(self) -> int:
        """How many rows it has of a transaction that has not ended."""
        return 0 if self._rows is None else len(self._rows)

    def close(self) -> None:
        self._client.close()


@dataclass
class Running:
    """A deployment whose processes tests may end; each is there again before a test ends. `watermark` is that of the newest
    commit that a client has got: there is no snapshot of what other tests have written."""

    deployment: Deployment
    valkey: ValkeyServer
    watcher: WatchChangesCommand
    server: ServeCommand
    replica_version: str
    watermark: str
    clients: list[Client] = field(default_factory=list)

    def client(self) -> Client:
        """One that has got all that was written so far, of which a resume gives the newest once more."""
        client = self.client_at(self.watermark)
        anchor = f"anchor-{time.monotonic_ns()}"
        self.deployment.database.notes.insert_one({"_id": anchor})
        client.read_until(lambda got: any(anchor.encode() in row for row in got.rows))
        client.received = Received()
        return client

    def client_at(self, watermark: str) -> Client:
        self.clients.append(Client(self, watermark))
        return self.clients[-1]

    def forget_peaks(self) -> None:
        """The peak of memory is that of what follows."""
        for server in (self.watcher, self.server):
            Path(f"/proc/{server.pid}/clear_refs").write_text("5")

    def log_keys(self) -> dict[str, str]:
        """The keys of the log by their last part."""
        with redis.Redis.from_url(self.valkey.url, decode_responses=True) as connection:
            keys = [str(key) for key in connection.scan_iter(f"changesource:*{self.deployment.app_id}*")]
        return {key.rpartition(":")[2]: key for key in keys}

    def write_in_a_transaction(self, name: str, count: int = OPERATIONS) -> None:
        notes = self.deployment.database.notes
        with self.deployment.client.start_session() as session, session.start_transaction():
            for start in range(0, count, 5_000):
                documents = [{"_id": f"{name}-{i}", "text": TEXT} for i in range(start, min(count, start + 5_000))]
                notes.insert_many(documents, session=session)


@pytest.fixture(scope="module")
def running(run_dir: Path, valkey_server: ValkeyServer, postgres_server: PostgresServer) -> Iterator[Running]:
    """With a MongoDB that takes large transactions, whose storage engine keeps them in its cache."""
    with ExitStack() as stack:
        mongo = stack.enter_context(MongoServer(run_dir / "mongodb-big", extra_args=["--cache-size", "4G"]))
        deployment = Deployment(
            stack,
            run_dir / "big-things",
            mongo,
            postgres_server,
            valkey_server,
            TABLES,
            MAPPINGS,
        )
        watcher, server = deployment.watch(), deployment.serve()
        version = take_snapshot(deployment, server)
        yield Running(deployment, valkey_server, watcher, server, version, version)


@pytest.fixture(autouse=True)
def leaving(running: Running) -> Iterator[None]:
    """Each test's clients go: what one has under way counts as the server's."""
    yield
    while running.clients:
        running.clients.pop().close()


def peak_bytes(server: Server) -> int:
    """The most memory that the process has had, since `forget_peaks`."""
    status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    return int(peak) * 1024


def report(what: str, seconds: float, **peaks: int) -> None:
    """Seen with `pytest -s`, and when a test fails."""
    figures = [f"{seconds:.1f} s", *(f"{name} {peak / 2**20:.0f} MB" for name, peak in peaks.items())]
    sys.stdout.write(f"{what}: {', '.join(figures)}\n")


# A slow zero-cache


class Direct:
    """Where a proxy would be, which reads however slowly zero-cache does."""

    def __init__(self, server: ServeCommand, token: str) -> None:
        self._url = server.stream_url(token)

    def stream_url(self) -> str:
        return self._url


def test_a_zero_cache_that_stops_reading(running: Running) -> None:
    """It is dropped after its time. When it goes on it resumes by its watermark, and its replica is what MongoDB is."""
    deployment = running.deployment
    deployment.environment["STALL_SECONDS"] = str(STALL_SECONDS)
    server = deployment.serve("impatient")
    del deployment.environment["STALL_SECONDS"]
    zero_cache = deployment.zero_cache(Direct(server, deployment.token), 7)  # type: ignore[arg-type]
    deployment.wait_until_equal(zero_cache)
    deployment.database.notes.insert_one({"_id": "streamed"})
    first = deployment.wait_until_equal(zero_cache)
    pause(zero_cache)
    started = time.monotonic()
    try:
        for start in range(0, 700, 100):  # more than the kernel takes for a socket
            deployment.database.notes.insert_many([{"_id": f"n-{start + i}", "text": TEXT * 100} for i in range(100)])
        wait_until(lambda: "/7: dropped" in server.log_path.read_text())
        report("dropped", time.monotonic() - started, serve=peak_bytes(server))
    finally:
        resume(zero_cache)
    assert time.monotonic() - started > STALL_SECONDS
    contents = deployment.wait_until_equal(zero_cache)
    assert contents.replica_version == first.replica_version
    zero_cache.stop()
    server.stop()
    running.client_at(running.watermark).read_until(lambda got: bool(got.rows) and b"n-699" in got.rows[-1])


# Large documents


def test_an_array_in_a_document_near_the_limit(running: Running) -> None:
    """A row for each element; then one element is changed, in an event of more than 16 MB, which is one row."""
    database = running.deployment.database
    client = running.client()
    running.forget_peaks()
    text = "x" * (ARRAY_BYTES // ELEMENTS - 40)
    elements = [{"id": i, "text": text} for i in range(ELEMENTS)]
    started = time.monotonic()
    database.parents.insert_one({"_id": "large", "elements": elements})
    client.read_until(lambda got: got.commits == [ELEMENTS])
    inserted_at = time.monotonic()
    report("inserted", inserted_at - started, watcher=peak_bytes(running.watcher), serve=peak_bytes(running.server))
    database.parents.update_one({"_id": "large"}, {"$set": {f"elements.{ELEMENTS // 2}.text": "changed"}})
    received = client.read_until(lambda got: len(got.commits) == 2)
    report(
        "updated",
        time.monotonic() - inserted_at,
        watcher=peak_bytes(running.watcher),
        serve=peak_bytes(running.server),
    )

    assert received.commits == [ELEMENTS, 1]
    assert json.loads(received.rows[0])[1]["new"] == {"parent": "large", "id": ELEMENTS // 2, "text": "changed"}
    assert max(peak_bytes(running.watcher), peak_bytes(running.server)) < MAX_BYTES


def test_a_row_that_zero_cache_would_not_take(running: Running) -> None:
    """JSON can be seven times as long as the value is. Up to a limit the row goes out; beyond that it is a row error, the
    row that there was goes away, and the stream goes on."""
    notes = running.deployment.database.notes
    client = running.client()
    running.forget_peaks()
    notes.insert_one({"_id": "huge", "tags": "\x01" * 4_500_000})
    client.read_until(lambda got: len(got.commits) == 1)
    (fits,) = client.received.rows
    notes.replace_one({"_id": "huge"}, {"tags": "\x01" * 6_000_000})
    client.read_until(lambda got: len(got.commits) == 2)
    (removal,) = client.received.rows
    notes.insert_one({"_id": "after"})
    client.read_until(lambda got: len(got.commits) == 3)
    report("huge rows", 0, watcher=peak_bytes(running.watcher), serve=peak_bytes(running.server))

    assert len(fits) > 31_000_000
    assert json.loads(removal)[1]["tag"] == "delete"
    assert max(peak_bytes(running.watcher), peak_bytes(running.server)) < MAX_BYTES


# A large transaction


def test_a_large_transaction_is_one_commit(running: Running) -> None:
    """Between one begin and one commit, with little memory in the watcher and the server."""
    client = running.client()
    running.forget_peaks()
    before = {server: peak_bytes(server) for server in (running.watcher, running.server)}
    started = time.monotonic()
    running.write_in_a_transaction("one")
    written_at = time.monotonic()
    received = client.read_until(lambda got: bool(got.commits))
    report("read", time.monotonic() - written_at, watcher=peak_bytes(running.watcher), serve=peak_bytes(running.server))
    report("written", written_at - started)

    assert received == Received([OPERATIONS], 0, received.rows)
    for server, at_first in before.items():
        assert peak_bytes(server) < min(MAX_BYTES, at_first + MAX_GROWTH_BYTES), server.name


def test_the_watcher_is_killed_in_a_large_transaction(running: Running) -> None:
    """Parts of it are in the log, and no end. It is committed once and whole, by whoever takes over."""
    client = running.client()
    with redis.Redis.from_url(running.valkey.url) as connection:
        keys = running.log_keys()
        running.write_in_a_transaction("killed")

        def has_begun() -> bool:
            last, whole, _ = connection.get(keys["tail"]).split()
            return bool(last != whole)

        wait_until(has_begun)
        os.kill(running.watcher.pid, signal.SIGSTOP)
        is_unfinished = has_begun()
        running.watcher.kill()
    assert is_unfinished, "the watcher was too fast to be killed in the middle"
    client.read_until(lambda got: client.open_rows > 0)
    running.watcher.start()
    received = client.read_until(lambda got: bool(got.commits))

    (rows,) = received.commits  # what has the cluster time of the entry before it comes again as well
    assert rows >= OPERATIONS
    assert len(set(received.rows)) >= OPERATIONS
    assert received.rollbacks == 1


def test_the_log_is_trimmed_in_a_large_transaction(running: Running) -> None:
    """What a session had not read yet it reads from MongoDB, and begins the transaction again."""
    reader = running.client()
    watermark = running.watermark
    running.write_in_a_transaction("trimmed", 20_000)
    reader.read_until(lambda got: bool(got.commits))
    client = running.client_at(watermark)
    client.read_until(lambda got: client.open_rows > 1_000)
    with redis.Redis.from_url(running.valkey.url) as connection:
        connection.xtrim(running.log_keys()["log"], maxlen=1, approximate=False)
    received = client.read_until(lambda got: got.commits[-1:] == [20_000])

    assert len(set(received.rows)) == 20_000
    assert received.rollbacks == 1


# A long backlog


@pytest.mark.parametrize("source", ["log", "MongoDB"])
def test_a_long_backlog_takes_little_memory(running: Running, source: str) -> None:
    """50 MB that were written while nobody served, from the log or from MongoDB."""
    running.server.stop()
    documents = [{"_id": f"backlog-{source}-{i}", "text": TEXT * 5} for i in range(10_000)]
    for start in range(0, len(documents), 1_000):
        running.deployment.database.notes.insert_many(documents[start : start + 1_000])
    if source == "MongoDB":
        running.watcher.stop()
        with redis.Redis.from_url(running.valkey.url) as connection:
            connection.delete(*running.log_keys().values())
    running.server.start()
    before = peak_bytes(running.server)
    started = time.monotonic()
    client = running.client_at(running.watermark)
    received = client.read_until(lambda got: bool(got.rows) and b"-9999" in got.rows[-1])
    report(f"50 MB from {source}", time.monotonic() - started, before=before, serve=peak_bytes(running.server))
    if source == "MongoDB":
        running.watcher.start()

    assert sum(received.commits) >= len(documents)
    assert peak_bytes(running.server) < before + MAX_GROWTH_BYTES
