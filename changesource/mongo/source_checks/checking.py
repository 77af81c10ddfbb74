"""Runs all checks of one source."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

from changesource.errors import ChangeSourceError
from changesource.mongo.source import Database, inspect_source
from changesource.mongo.source_checks.images import check_images
from changesource.mongo.source_checks.oplog import check_oplog
from changesource.mongo.source_checks.privileges import check_privileges
from changesource.mongo.source_checks.results import CheckResult, PublishedCollection, Status
from changesource.mongo.source_checks.server import (
    check_answer_and_clock,
    check_change_stream,
    check_majority_read,
    describe_server,
)

CHECK_SECONDS = 4.0
"""How long one check may take. The checks run concurrently."""


async def check_database(database: Database, collections: Sequence[PublishedCollection]) -> list[CheckResult]:
    """Returns the results for `database`, from which `collections` are published: one result if the
    server cannot be used at all. Takes at most the time for which PyMongo looks for the server, and
    two times `CHECK_SECONDS`. Raises no errors of the server."""
    try:
        report = await inspect_source(database)
    except ChangeSourceError as error:
        return [failed("server", error)]
    # The time of an answer is measured while no other check runs.
    answer = await _in_time("answer", "unknown", check_answer_and_clock(database))
    others = await asyncio.gather(
        _in_time("privileges", "unknown", check_privileges(database, report)),
        _in_time("majority reads", "error", check_majority_read(database)),
        _in_time("change stream", "error", check_change_stream(database, report, collections)),
        _in_time("images", "unknown", check_images(database, collections)),
        _in_time("oplog window", "unknown", check_oplog(database, report)),
    )
    return [describe_server(report), *answer, *(result for results in others for result in results)]


def failed(name: str, error: ChangeSourceError, status: Status = "error") -> CheckResult:
    """Returns the result of a check that could not be made. The error's message says what to do."""
    return CheckResult(name, status, str(error))


async def _in_time(name: str, status: Status, check: Awaitable[list[CheckResult]]) -> list[CheckResult]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check
    except TimeoutError:
        return [CheckResult(name, status, f"There was no answer within {CHECK_SECONDS:.0f} seconds.")]
    except ChangeSourceError as error:
        return [failed(name, error, status)]
