"""Checks what the server is, how fast it answers, its clock, and its change stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pymongo.errors import PyMongoError

from changesource.mongo.change_stream import StreamContent, open_change_stream
from changesource.mongo.faults import as_source_error
from changesource.mongo.markers import MARKERS_COLLECTION
from changesource.mongo.source import Database, SourceReport, current_cluster_time
from changesource.mongo.source_checks.results import CheckResult, PublishedCollection

SLOW_ANSWER_MS = 500.0
"""Each batch of changes takes at least one answer, and each batch with updates without a post-image
takes a second one."""
CLOCK_WARNING_SECONDS = 5.0


def describe_server(report: SourceReport) -> CheckResult:
    """Returns the topology, the version and what that version can do. (`inspect_source` has already
    refused unusable servers.)"""
    number = ".".join(map(str, report.version))
    values: dict[str, str | bool] = {
        "version": number,
        "topology": report.topology,
        "splits_large_events": report.can_split_large_events,
    }
    if report.can_split_large_events:
        text = f"MongoDB {number}, {report.topology}. Change events over 16 MB arrive in fragments."
        return CheckResult("server", "ok", text, values=values)
    return CheckResult(
        "server",
        "warning",
        f"MongoDB {number}, {report.topology}. A change event over 16 MB (an update of a large document) stops the stream.",
        "Upgrade to 7.0 or later, or to 6.0.9 or a later 6.0, which split such events.",
        values,
    )


async def check_answer_and_clock(database: Database) -> list[CheckResult]:
    """Returns how long an answer takes, and how far this machine's clock is from the server's.
    Raises the errors of `as_source_error`."""
    started = time.monotonic()
    asked_at = time.time()
    try:
        hello = await database.command("hello")
    except PyMongoError as error:
        raise as_source_error(error) from error
    answer_ms = (time.monotonic() - started) * 1000
    middle = asked_at + answer_ms / 2000
    return [_answer(answer_ms), _clock(middle, hello.get("localTime"), answer_ms)]


def _answer(answer_ms: float) -> CheckResult:
    values = {"milliseconds": round(answer_ms, 1)}
    text = f"The server answers in {answer_ms:.0f} ms."
    if answer_ms <= SLOW_ANSWER_MS:
        return CheckResult("answer", "ok", text, values=values)
    return CheckResult(
        "answer",
        "warning",
        text,
        "Run this project near the source: each change is delayed by several answers.",
        values,
    )


def _clock(here: float, server_time: object, answer_ms: float) -> CheckResult:
    if not isinstance(server_time, datetime):
        return CheckResult("clock", "unknown", "The server does not report its time.")
    moment = server_time if server_time.tzinfo else server_time.replace(tzinfo=UTC)
    difference = moment.timestamp() - here
    values = {"seconds": round(difference, 3)}
    if abs(difference) <= CLOCK_WARNING_SECONDS + answer_ms / 2000:
        return CheckResult(
            "clock", "ok", f"This machine and the server differ by {abs(difference):.1f} s.", values=values
        )
    direction = "ahead of" if difference > 0 else "behind"
    return CheckResult(
        "clock",
        "warning",
        f"The server is {abs(difference):.0f} s {direction} this machine. No data is at risk, since positions come from the "
        "server alone, but displayed times and lags are wrong by as much.",
        "Let both machines follow a time server (chrony, ntpd, systemd-timesyncd).",
        values,
    )


async def check_change_stream(
    database: Database, report: SourceReport, collections: Sequence[PublishedCollection]
) -> list[CheckResult]:
    """Opens the stream that the published apps need, with majority read concern, and reads it once.
    Raises the errors of `as_source_error`."""
    content = StreamContent(
        collections={collection.name for collection in collections},
        markers_of=collections[0].app_id if collections else "app",
        has_pre_images=any(collection.unwinding for collection in collections),
    )
    start = await current_cluster_time(database)
    stream = await open_change_stream(database, content, start, splits_large_events=report.can_split_large_events)
    try:
        await stream.next_batch(wait=False)
    finally:
        await stream.close()
    return [CheckResult("change stream", "ok", "The change stream of the database opens and can be read.")]


async def check_majority_read(database: Database) -> list[CheckResult]:
    """Reads what a majority has, as snapshots do. Raises the errors of `as_source_error`."""
    try:
        await database[MARKERS_COLLECTION].find_one({}, {"_id": 1})
    except PyMongoError as error:
        raise as_source_error(error) from error
    return [CheckResult("majority reads", "ok", "Reads with the read concern “majority” work.")]
