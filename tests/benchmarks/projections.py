"""`python -m tests.benchmarks.projections`: what it saves to ask MongoDB only for the fields that tables read.

Processor time for each document, of the server and of the reader, as a multiple of what a bare PyMongo loop over the whole
documents takes of both together: read the ratios. The product chooses by itself where to ask for fields
(`mongo.documents`); each line says what it chose. The last lines are of a change stream, which has no such stage.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
import psutil
import pymongo
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from changesource.mongo.change_stream import StreamContent, change_stream_pipeline
from changesource.mongo.documents import choose_projection, find_documents, scan
from changesource.mongo.read_fields import EVERYTHING, projection_for
from changesource.mongo.source import Sources, cluster_time_of
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Column, Table
from changesource.tables.values import CODEC_OPTIONS
from tests.benchmarks.documents import make_document
from zerosources.embedded import EMBEDDED_DIR
from zerosources.embedded.servers import MongoServer

REPEATS = 4
LOOK_UPS = 500
EVENTS = 400
EVENT_FIELDS = (
    *("operationType", "clusterTime", "wallTime", "ns", "to", "documentKey", "updateDescription", "txnNumber"),
    *("splitEvent", "fullDocumentBeforeChange"),
)
_UNDECODED = CodecOptions(document_class=RawBSONDocument)

TABLE = CompiledTable(
    Table(
        name="items",
        columns=(
            Column("_id", "string"),
            Column("n", "number", optional=True),
            Column("title", "string", optional=True),
        ),
        primary_key=("_id",),
    )
)
READ = TABLE.reads


def make_wide(n: int) -> dict[str, Any]:
    """50 fields and 20 kB, of which the table reads three."""
    return {**make_document(n), **{f"text_{i}": "lorem ipsum dolor sit amet " * 18 for i in range(42)}}


def make_nested(n: int) -> dict[str, Any]:
    """An array of 300 objects beside what the table reads."""
    return {**make_document(n), "lines": [{"sku": f"s{i}", "q": i, "p": i * 1.5, "t": "abc"} for i in range(300)]}


SHAPES: Sequence[tuple[str, Callable[[int], dict[str, Any]], int]] = (
    ("8 fields, 0.3 kB", make_document, 8_000),
    ("50 fields, 20 kB", make_wide, 1_500),
    ("300 items, 16 kB", make_nested, 600),
)


@dataclass(frozen=True)
class Cost:
    """Microseconds of processor time for each document."""

    server: float
    reader: float

    @property
    def total(self) -> float:
        return self.server + self.reader


def main() -> None:
    EMBEDDED_DIR.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=EMBEDDED_DIR, prefix="bench-") as folder,
        MongoServer(Path(folder) / "mongodb") as server,
        pymongo.MongoClient[dict[str, Any]](server.uri("bench")) as client,
    ):
        database = client.get_default_database(CODEC_OPTIONS)
        for name, make, count in SHAPES:
            start = client.admin.command("ping")["operationTime"]
            documents = [make(n) for n in range(count)]
            for first in range(0, count, 500):
                database[name].insert_many(documents[first : first + 500])
            ids = [document["_id"] for document in documents[:LOOK_UPS]]
            asyncio.run(measure_reads(server, database[name], ids))
            measure_stream(server, database, name, start)


async def measure_reads(server: MongoServer, collection: Any, ids: list[Any]) -> None:
    sources = Sources({"bench": server.uri("bench")})
    database = sources.database("bench")
    projection = projection_for(READ)
    chosen = await choose_projection(database, collection.name, READ)

    async def scan_rows(fields: Any) -> int:
        return sum([make_rows(documents) async for documents in scan(database, collection.name, fields)])

    async def look_up_rows(projection: Any) -> int:
        return sum([make_rows(found) async for found in find_documents(database, collection.name, ids, projection)])

    async def bare_scan() -> int:
        return sum(1 for _ in collection.find({}, sort=[("_id", 1)]))

    async def bare_look_up() -> int:
        return sum(1 for _ in collection.find({"_id": {"$in": ids}}))

    choice = "fields" if chosen else "whole documents"
    bare = await least(server, bare_scan)
    report(collection.name, "scan", "bare, whole documents", bare, bare)
    report(collection.name, "scan", "rows of whole documents", await least(server, lambda: scan_rows(EVERYTHING)), bare)
    report(collection.name, "scan", f"rows as chosen: {choice}", await least(server, lambda: scan_rows(READ)), bare)
    bare = await least(server, bare_look_up)
    report(collection.name, "look-up", "bare, whole documents", bare, bare)
    report(collection.name, "look-up", "rows of whole documents", await least(server, lambda: look_up_rows(None)), bare)
    report(collection.name, "look-up", "rows of fields", await least(server, lambda: look_up_rows(projection)), bare)
    await sources.close()


def make_rows(documents: Sequence[dict[str, Any]]) -> int:
    for document in documents:
        TABLE.rows(document, [])
    return len(documents)


def measure_stream(server: MongoServer, database: Any, name: str, start: Any) -> None:
    """With and without a stage that leaves the fields out that no table reads, as all collections of an app would have it."""
    opening = change_stream_pipeline(StreamContent([name]), cluster_time_of(start), splits_large_events=False)
    stage = {"$project": dict.fromkeys([*EVENT_FIELDS, *(f"fullDocument.{field}" for field in READ)], 1)}

    async def whole() -> int:
        return read_events(database, opening)

    async def projected() -> int:
        return read_events(database, [*opening, stage])

    bare = asyncio.run(least(server, whole))
    report(name, "change stream", "whole documents", bare, bare)
    report(name, "change stream", "fields by $project", asyncio.run(least(server, projected)), bare)


def read_events(database: Any, pipeline: list[dict[str, Any]]) -> int:
    count = 0
    command: dict[str, Any] = {"aggregate": 1, "pipeline": pipeline, "cursor": {"batchSize": 1_000}}
    while True:
        reply = bson.decode(database.command(command, codec_options=_UNDECODED).raw, CODEC_OPTIONS)["cursor"]
        count += len(reply.get("firstBatch") or reply.get("nextBatch") or ())
        if count >= EVENTS:
            database.command({"killCursors": "$cmd.aggregate", "cursors": [reply["id"]]})
            return count
        command = {"getMore": reply["id"], "collection": "$cmd.aggregate", "batchSize": 1_000, "maxTimeMS": 1_000}


async def least(server: MongoServer, read: Callable[[], Awaitable[int]]) -> Cost:
    """What is more has been disturbed."""
    process = psutil.Process(server.pid)
    costs = []
    for _ in range(REPEATS):
        server_before, reader_before = processor_seconds(process), time.process_time()
        count = await read()
        reader = (time.process_time() - reader_before) / count * 1e6
        costs.append(Cost((processor_seconds(process) - server_before) / count * 1e6, reader))
    return min(costs, key=lambda cost: cost.total)


def processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def report(name: str, what: str, how: str, cost: Cost, bare: Cost) -> None:
    print(
        f"{name}  {what:13} {how:32} server {cost.server:7.1f} µs   reader {cost.reader:6.1f} µs   "
        f"ratio {cost.total / bare.total:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
