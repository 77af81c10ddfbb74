"""`python -m tests.benchmarks [--documents N]`: what the stream gives, against a bare PyMongo loop over the same documents;
and what named queries cost, against @rocicorp/zero's own handler and streams without them.

Each pair is measured in one run, one after the other, on one machine: read the ratios, not the figures.
"""

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pymongo

from changesource.mongo.change_stream import StreamContent, change_stream_pipeline
from changesource.mongo.source import cluster_time_of
from tests.benchmarks import herd, named_queries, projections, rendering
from tests.benchmarks.documents import make_document
from tests.benchmarks.raw_client import RawClient
from tests.e2e.deployment import Deployment
from zerosources.embedded import EMBEDDED_DIR
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer

COLUMNS = {
    "_id": {"type": "string"},
    "n": {"type": "number", "optional": True},
    "price": {"type": "number", "optional": True},
    "title": {"type": "string", "optional": True},
    "text": {"type": "string", "optional": True},
    "at": {"type": "number", "optional": True},
    "done": {"type": "boolean", "optional": True},
    "tags": {"type": "json", "optional": True},
}
SCHEMA: dict[str, Any] = {
    "tables": {"items": {"name": "items", "columns": COLUMNS, "primaryKey": ["_id"]}},
    "relationships": {},
}
REPEATS = 3
LATENCY_INSERTS = 400
LATENCY_PAUSE_SECONDS = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000)
    documents = parser.parse_args().documents
    rendering.main()
    projections.main()
    named_queries.main()
    herd.main()
    EMBEDDED_DIR.mkdir(exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=EMBEDDED_DIR, prefix="bench-")))
        mongo = stack.enter_context(MongoServer(folder / "mongodb"))
        valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        postgres = PostgresServer(folder / "postgres")  # not started: no zero-cache takes part
        print(f"{documents:,} documents of some 270 bytes; best of {REPEATS}")
        for log in ("memory", "redis"):
            deployment = Deployment(
                stack, folder / log, mongo, postgres, valkey if log == "redis" else None, SCHEMA, WEBSOCKET_DEFLATE="0"
            )
            measure(deployment, documents, log)


def measure(deployment: Deployment, documents: int, log: str) -> None:
    items = deployment.database.items
    for start in range(0, documents, 5_000):
        items.insert_many([make_document(start + i) for i in range(min(5_000, documents - start))])
    server = deployment.start()
    version = take_snapshot(deployment, server)

    bare = best(lambda: count_find(deployment))
    ours = best(lambda: count_snapshot(deployment, server))
    report(log, "snapshot, rows/s", documents / bare, documents / ours)

    before = deployment.client.admin.command("ping")["operationTime"]
    for start in range(0, documents, 5_000):
        items.insert_many([make_document(start + i) for i in range(min(5_000, documents - start))])
    bare = best(lambda: count_change_stream(deployment, before, documents))
    wait_for_log(deployment, server, version, documents)
    ours = best(lambda: count_stream(deployment, server, version, documents))
    report(log, "live backlog out of the log, events/s", documents / bare, documents / ours)
    if log == "memory":
        server.restart()  # its log is empty now, and it reads MongoDB for those that are behind
        ours = best(lambda: count_stream(deployment, server, version, documents))
        report(log, "live backlog out of MongoDB, events/s", documents / bare, documents / ours)

    bare_latencies = latencies_of_change_stream(deployment)
    our_latencies = latencies_of_stream(deployment, server)
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        theirs, us = (sorted(each)[int(quantile * len(each))] * 1000 for each in (bare_latencies, our_latencies))
        print(f"{log:7} insert to frame, ms, {name}: bare change stream {theirs:8.2f}   ours {us:8.2f}")
    print(f"{log:7} mean of {len(our_latencies)} inserts: {statistics.mean(our_latencies) * 1000:.2f} ms")


def report(log: str, what: str, bare: float, ours: float) -> None:
    print(f"{log:7} {what}: bare PyMongo {bare:10,.0f}   ours {ours:10,.0f}   ratio {ours / bare:.2f}")


def best(run: Callable[[], float]) -> float:
    """Seconds of the fastest of some runs: what is slower has been disturbed."""
    return min(run() for _ in range(REPEATS))


def timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


# A bare PyMongo loop


def count_find(deployment: Deployment) -> float:
    return timed(lambda: sum(1 for _ in deployment.database.items.find({}, sort=[("_id", 1)])))


def count_change_stream(deployment: Deployment, start: Any, documents: int) -> float:
    """With the stages that our own stream has, which cost the server more than they cost us."""
    opened, *stages = change_stream_pipeline(StreamContent(["items"]), cluster_time_of(start), splits_large_events=True)
    options = {"full_document": opened["$changeStream"]["fullDocument"], "show_expanded_events": True}

    def read() -> None:
        seen = 0
        with deployment.database.watch(stages, start_at_operation_time=start, batch_size=1000, **options) as stream:
            while seen < documents:
                if stream.try_next() is not None:
                    seen += 1

    return timed(read)


def latencies_of_change_stream(deployment: Deployment) -> list[float]:
    found: dict[Any, float] = {}
    is_watching = threading.Event()

    def watch() -> None:
        with deployment.database.items.watch(max_await_time_ms=1000) as stream:
            is_watching.set()
            while len(found) < LATENCY_INSERTS:
                if (event := stream.try_next()) is not None:
                    found[str(event["documentKey"]["_id"])] = time.perf_counter()

    thread = threading.Thread(target=watch)
    thread.start()
    is_watching.wait()
    sent = insert_slowly(deployment)
    thread.join()
    return [found[key] - moment for key, moment in sent.items()]


def insert_slowly(deployment: Deployment) -> dict[str, float]:
    """When each document was sent to MongoDB, by its id."""
    rng = random.Random(1)
    sent = {}
    for n in range(LATENCY_INSERTS):
        document = make_document(n)
        sent[str(document["_id"])] = time.perf_counter()
        deployment.database.get_collection("items", write_concern=pymongo.WriteConcern(1)).insert_one(document)
        time.sleep(LATENCY_PAUSE_SECONDS * rng.random() * 2)
    return sent


# Ours


def stream_url(deployment: Deployment, server: ServeCommand, version: str = "") -> str:
    resume = f"&lastWatermark={version}&replicaVersion={version}" if version else ""
    return f"ws://127.0.0.1:{server.port}/changes/v0/stream?token={deployment.token}&appID={deployment.app_id}&shardNum=0{resume}"


def take_snapshot(deployment: Deployment, server: ServeCommand) -> str:
    frames = list(RawClient(stream_url(deployment, server)))
    assert json.loads(frames[-1])[0] == "commit"
    return str(json.loads(frames[0])[2]["commitWatermark"])


def count_snapshot(deployment: Deployment, server: ServeCommand) -> float:
    def read() -> None:
        for frame in RawClient(stream_url(deployment, server)):
            last = frame
        assert last.startswith(b'["commit"')

    return timed(read)


def wait_for_log(deployment: Deployment, server: ServeCommand, version: str, documents: int) -> None:
    """The stream is read once to its end, so that the watcher has rendered everything."""
    count_stream(deployment, server, version, documents)


def count_stream(deployment: Deployment, server: ServeCommand, version: str, documents: int) -> float:
    def read() -> None:
        seen = 0
        client = RawClient(stream_url(deployment, server, version))
        for frame in client:
            if frame.startswith(b'["data"'):
                seen += 1
                if seen >= documents:
                    break
            elif frame.startswith(b'["commit"'):
                client.send(b'["status",{"tag":"commit"},' + frame[frame.rindex(b'{"watermark"') :])
        client.close()

    return timed(read)


def latencies_of_stream(deployment: Deployment, server: ServeCommand) -> list[float]:
    version = take_snapshot(deployment, server)
    client = RawClient(stream_url(deployment, server, version))
    found: dict[str, float] = {}

    def read() -> None:
        for frame in client:
            if frame.startswith(b'["data"'):
                found[json.loads(frame)[1]["new"]["_id"]] = time.perf_counter()
                if len(found) >= LATENCY_INSERTS:
                    return

    thread = threading.Thread(target=read)
    thread.start()
    sent = insert_slowly(deployment)
    thread.join()
    client.close()
    return [found[key] - moment for key, moment in sent.items()]


if __name__ == "__main__":
    main()
