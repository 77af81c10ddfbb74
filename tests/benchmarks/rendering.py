"""`python -m tests.benchmarks.rendering`: documents → rows → frames in one process, for each kind of mapping.

The bare loop beside it decodes the same BSON with PyMongo and writes each document as JSON once, as what nobody can leave
out: read the ratios.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import orjson
from bson import ObjectId

from changesource.mongo.events import ChangeEvent
from changesource.publishing.compiled import CompiledTableFrames, CompiledVersion
from changesource.replication.document_changes import DocumentChanges, frames_by_pre_images
from changesource.tables.definition import AppDefinition, Column, Table
from changesource.tables.row_errors import RowError
from changesource.tables.values import CODEC_OPTIONS
from tests.benchmarks.documents import make_document
from tests.benchmarks.without_budget import table_without_budget

DOCUMENTS = 20_000
PARENTS = 200
ELEMENTS = 100
LARGE_ARRAY = 1_000
REPEATS = 5
BUDGET_REPEATS = 15
"""The difference is small."""

SIMPLE = Table(
    name="items",
    columns=(
        Column("_id", "string"),
        Column("n", "number", optional=True),
        Column("price", "number", optional=True),
        Column("title", "string", optional=True),
        Column("text", "string", optional=True),
        Column("at", "number", optional=True),
        Column("done", "boolean", optional=True),
        Column("tags", "json", optional=True),
    ),
    primary_key=("_id",),
)
PROJECTED = Table(
    name="done",
    columns=(
        Column("_id", "string"),
        Column("label", "string", optional=True),
        Column("total", "number", optional=True),
        Column("first", "string", optional=True),
        Column("day", "string", optional=True),
    ),
    primary_key=("_id",),
    mapping="""{
        "filter": {"done": {"$in": [true, false]}, "n": {"$gte": 0}},
        "projection": {
            "label": {"$concat": ["$title", ": ", {"$toString": "$n"}]},
            "total": {"$multiply": ["$price", 1.2]},
            "first": {"$arrayElemAt": ["$tags", 0]},
            "day": {"$dateToString": {"date": "$at", "format": "%Y-%m-%d"}}
        }
    }""",
)
UNWOUND = Table(
    name="members",
    columns=(
        Column("account", "string"),
        Column("user", "string"),
        Column("role", "string", optional=True),
        Column("place", "number"),
    ),
    primary_key=("account", "user"),
    collection="accounts",
    mapping="""{"pipeline": [
        {"$unwind": {"path": "$members", "includeArrayIndex": "place"}},
        {"$project": {"_id": 0, "account": "$_id", "user": "$members.id", "role": "$members.role", "place": 1}}
    ]}""",
)


@dataclass(frozen=True)
class Measured:
    rows: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


def main() -> None:
    flat = [bson.encode(make_document(n)) for n in range(DOCUMENTS)]
    parents = [bson.encode(make_account(ELEMENTS)) for _ in range(PARENTS)]
    report("simple, rows", best(lambda: bare(flat)), best(lambda: render(SIMPLE, flat)))
    report("filtered and computed, rows", best(lambda: bare(flat)), best(lambda: render(PROJECTED, flat)))
    unwound = f"{ELEMENTS} elements unwound, rows"
    report(unwound, best(lambda: bare(parents, ELEMENTS)), best(lambda: render(UNWOUND, parents)))
    report_budget("simple", SIMPLE, flat)
    report_budget("filtered and computed", PROJECTED, flat)
    report_budget(f"{ELEMENTS} elements unwound", UNWOUND, parents)
    changed = best(change_one_element)
    print(f"one of {LARGE_ARRAY} elements changed: {changed.seconds / changed.rows * 1000:.2f} ms an event, one frame")


def make_account(elements: int) -> dict[str, Any]:
    return {
        "_id": ObjectId(),
        "name": "Account",
        "members": [{"id": f"user-{n}", "role": "member", "since": n} for n in range(elements)],
    }


def bare(encoded: Sequence[bytes], rows_each: int = 1) -> Measured:
    start = time.perf_counter()
    for each in encoded:
        orjson.dumps(bson.decode(each, CODEC_OPTIONS), default=str)
    return Measured(len(encoded) * rows_each, time.perf_counter() - start)


def render(table: Table, encoded: Sequence[bytes]) -> Measured:
    compiled = compile_table(table)
    errors: list[RowError] = []
    frames = []
    start = time.perf_counter()
    for each in encoded:
        for row in compiled.table.rows(bson.decode(each, CODEC_OPTIONS), errors):
            frames.append(compiled.frames.upsert(row))
    seconds = time.perf_counter() - start
    assert frames
    assert not errors
    return Measured(len(frames), seconds)


def report_budget(what: str, table: Table, encoded: Sequence[bytes]) -> None:
    """What it costs that each document's rows have a budget, by rendering that pays for it and rendering that does not."""
    frames = compile_table(table).frames

    def processor_seconds(rows: Callable[[Any, list[RowError]], list[Any]]) -> float:
        start = time.process_time()
        for each in encoded:
            for row in rows(bson.decode(each, CODEC_OPTIONS), []):
                frames.upsert(row)
        return time.process_time() - start

    paying, free = compile_table(table).table, table_without_budget(table)
    times = [(processor_seconds(paying.rows), processor_seconds(free.rows)) for _ in range(BUDGET_REPEATS)]
    with_it, without_it = min(first for first, _ in times), min(second for _, second in times)
    print(
        f"{what}: processor time of rendering with a budget {with_it:.3f} s   without {without_it:.3f} s   "
        f"ratio {with_it / without_it:.3f}"
    )


def change_one_element(events: int = 20) -> Measured:
    compiled = compile_table(UNWOUND)
    before = make_account(LARGE_ARRAY)
    now = {**before, "members": [dict(member) for member in before["members"]]}
    now["members"][LARGE_ARRAY // 2]["role"] = "owner"
    event = ChangeEvent("upsert", "accounts", before["_id"], now, 0, False, 0, before=before, is_before_known=True)
    start = time.perf_counter()
    for _ in range(events):
        (_,) = frames_by_pre_images(compiled, DocumentChanges([event], now), []).upserts
    return Measured(events, time.perf_counter() - start)


def compile_table(table: Table) -> CompiledTableFrames:
    (compiled,) = CompiledVersion(AppDefinition("bench", "default", (table,)), 1).tables
    return compiled


def best(run: Callable[[], Measured]) -> Measured:
    """What is slower has been disturbed."""
    return max((run() for _ in range(REPEATS)), key=lambda measured: measured.rate)


def report(what: str, theirs: Measured, ours: Measured) -> None:
    ratio = ours.rate / theirs.rate
    print(f"{what}: decoding and one JSON text {theirs.rate:10,.0f}/s   ours {ours.rate:10,.0f}/s   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
