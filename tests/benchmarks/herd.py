"""`python -m tests.benchmarks.herd`: what it does to streams when all client groups ask again, as they do after a publish.

Two zero-caches, with a `serve` each, have 500 client groups, and each of these asks for 10 queries in one request. Documents
are inserted all the time, and a stream of each `serve` tells how long they take from the insert to the frame.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pymongo

from changesource.publishing.exports.zero_json import zero_schema
from tests.benchmarks.named_queries import BY_NUMBER, definition, permissions, requests
from tests.benchmarks.raw_client import RawClient
from tests.e2e.deployment import Deployment
from zerosources.embedded import EMBEDDED_DIR
from zerosources.embedded.node import node_environment, node_executable
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer

SERVERS = 2
CLIENT_GROUPS = 1_000
QUERIES = 10
QUIET_SECONDS = 8.0
PAUSE_SECONDS = 0.01
"""Between two inserts, on average."""


def main() -> None:
    EMBEDDED_DIR.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=EMBEDDED_DIR, prefix="bench-")))
        mongo = stack.enter_context(MongoServer(folder / "mongodb"))
        valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        postgres = PostgresServer(folder / "postgres")  # not started: no zero-cache takes part
        schema, queries = zero_schema(definition()), {"issues.byNumber": BY_NUMBER}
        deployment = Deployment(
            stack, folder / "app", mongo, postgres, valkey, schema, permissions=permissions(), WEBSOCKET_DEFLATE="0"
        )
        deployment.publish(schema, {}, permissions(), queries)
        deployment.watch()
        servers = [deployment.serve(f"serve-{shard_num}") for shard_num in range(SERVERS)]
        streams = Streams(deployment, servers)
        stack.callback(streams.end)
        time.sleep(QUIET_SECONDS)
        quiet = streams.take()
        deployment.publish(schema, {}, {**permissions(), "issue": {"select": [{"owner": "$auth.sub"}]}}, queries)
        print(f"{CLIENT_GROUPS:,} client groups of two zero-caches ask for {QUERIES} queries each at once")
        report(streams, quiet, "serve", [server.url for server in servers], deployment)
        time.sleep(QUIET_SECONDS)
        others = [stack.enter_context(another_server()) for _ in servers]
        report(streams, quiet, "a server that does nothing", others, deployment)


def report(streams: Streams, quiet: list[float], name: str, urls: list[str], deployment: Deployment) -> None:
    """All client groups ask once, and the streams are watched meanwhile."""
    with ExitStack() as stack:
        zero_caches = [
            stack.enter_context(zero_cache(deployment, url, shard_num)) for shard_num, url in enumerate(urls)
        ]
        streams.take()
        began = time.perf_counter()
        for process in zero_caches:
            print(file=process.stdin, flush=True)
        slowest = max(json.loads(process.stdout.readline())["slowest"] for process in zero_caches)
        seconds = time.perf_counter() - began
        meanwhile = streams.take()
    print(f"{name}: all answered in {seconds:.2f} s; slowest request {slowest:.2f} s")
    for quantile in (50, 95, 99):
        before, then = (sorted(each)[quantile * len(each) // 100] * 1000 for each in (quiet, meanwhile))
        print(
            f"{name}: insert to frame, ms, p{quantile}: quiet {before:.2f}   meanwhile {then:.2f}   "
            f"ratio {then / before:.2f}   ({len(quiet)} and {len(meanwhile)} frames)"
        )


class Streams:
    """A stream of each server, and a thread that inserts documents."""

    def __init__(self, deployment: Deployment, servers: list[ServeCommand]) -> None:
        self._clients: list[RawClient] = []
        self._inserted: dict[int, float] = {}
        self._latencies: list[float] = []
        self._has_ended = threading.Event()
        self._issues = deployment.database.get_collection("issues", write_concern=pymongo.WriteConcern(1))
        for shard_num, server in enumerate(servers):
            url = (
                f"ws://127.0.0.1:{server.port}/changes/v0/stream?token={deployment.token}&appID={deployment.app_id}"
                f"&shardNum={shard_num}"
            )
            frames = list(RawClient(url))  # the snapshot
            version = json.loads(frames[0])[2]["commitWatermark"]
            self._clients.append(RawClient(f"{url}&lastWatermark={version}&replicaVersion={version}"))
        self._threads = [threading.Thread(target=self._read, args=(client,)) for client in self._clients]
        self._threads.append(threading.Thread(target=self._insert))
        for thread in self._threads:
            thread.start()

    def take(self) -> list[float]:
        """The seconds from an insert to its frame, of each frame since the last call."""
        taken, self._latencies = self._latencies, []
        return taken

    def end(self) -> None:
        self._has_ended.set()
        for client in self._clients:
            client.shut_down()
        for thread in self._threads:
            thread.join()

    def _insert(self) -> None:
        rng = random.Random(1)
        number = 0
        while not self._has_ended.wait(PAUSE_SECONDS * rng.random() * 2):
            number += 1
            self._inserted[number] = time.perf_counter()
            self._issues.insert_one(
                {"_id": number, "key": number, "number_in_replica": number, "owner_in_replica": "ada"}
            )

    def _read(self, client: RawClient) -> None:
        for frame in client:
            if frame.startswith(b'["data",{"tag":"insert"') and b'"issues"' in frame[:100]:
                number = json.loads(frame)[1]["new"]["key"]
                self._latencies.append(time.perf_counter() - self._inserted[number])
            elif frame.startswith(b'["commit"'):
                self._acknowledge(client, frame)

    def _acknowledge(self, client: RawClient, commit: bytes) -> None:
        try:
            client.send(b'["status",{"tag":"commit"},' + commit[commit.rindex(b'{"watermark"') :])
        except BrokenPipeError:
            if not self._has_ended.is_set():
                raise


@contextmanager
def another_server() -> Iterator[str]:
    """The URL of a server that takes nothing from streams but a share of the processors."""
    answer = json.dumps({"queries": [{"ast": {"table": "issue"}}] * QUERIES})
    with node("answer_at_once.mjs") as process:
        print(answer, file=process.stdin, flush=True)
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"


@contextmanager
def zero_cache(deployment: Deployment, server: str, shard_num: int) -> Iterator[Any]:
    """A process with `ask_together.mjs`, which asks at the next line that it gets."""
    given = {
        "url": f"{server}/api/zero/query?schema={deployment.app_id}_{shard_num}&appID={deployment.app_id}",
        "headers": {"X-Api-Key": deployment.token, "Content-Type": "application/json"},
        "bodies": [json.dumps(["transform", requests(QUERIES)])] * (CLIENT_GROUPS // SERVERS),
    }
    with node("ask_together.mjs") as process:
        print(json.dumps(given), file=process.stdin, flush=True)
        process.stdout.readline()
        yield process


@contextmanager
def node(program: str) -> Iterator[Any]:
    """A process of Node, which is ended at the end."""
    with subprocess.Popen(
        [str(node_executable()), str(Path(__file__).with_name(program))],
        env=node_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    main()
