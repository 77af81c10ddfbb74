"""Reads whole collections for snapshots, and single documents for updates without a post-image."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pymongo.asynchronous.cursor import AsyncRawBatchCursor
from pymongo.errors import OperationFailure, PyMongoError

from changesource.errors import SourceUnreachable
from changesource.mongo.decoding import decode_batch_in_pieces, split_batch
from changesource.mongo.faults import as_source_error
from changesource.mongo.read_fields import EVERYTHING, Projection, projection_for
from changesource.mongo.source import Database
from changesource.mql import without_references
from changesource.tables.document_ids import is_readable
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)

MAX_SCAN_BATCH_SIZE = 1_000
UNKNOWN_SCAN_BATCH_SIZE = 100
SCAN_BATCH_BYTES = 2 * 2**20
"""About how much of a collection a scan holds at a time."""
SAMPLE_SIZE = 50
"""How many documents are read to find out whether it is cheaper to request some fields only."""
MIN_LEFT_OUT_BYTES = 512
MIN_LEFT_OUT_SHARE = 0.5
"""How much of an average document a projection has to leave out. Below this, making smaller
documents costs the server more than it costs both sides to send and decode whole ones
(tests/benchmarks/projections.py)."""
LOOKUP_BATCH_SIZE = 500
NOT_ON_A_VIEW = 166
"""CommandNotSupportedOnView."""
MAX_SCAN_RETRIES = 10
"""After how many interruptions in a row, without a document in between, a scan gives up."""
RETRY_SECONDS = 1.0

Documents = list[dict[str, Any]]


async def scan(
    database: Database,
    collection: str,
    fields: Collection[str] = EVERYTHING,
    batch_size: int | None = None,
    *,
    with_one_of: Iterable[str] = (),
) -> AsyncGenerator[Documents, None]:
    """Yields all documents of a collection in the order of `_id`, in batches. After an interruption
    it continues after the last `_id`. With names of top-level fields in `with_one_of`, yields only
    documents that have at least one of these fields.

    Documents have `_id` and the top-level `fields`, and other fields where it is not cheaper to
    leave them out.

    Each document is a state that a majority had at some moment of the scan. The scan may take any
    time: the caller closes the gap by replaying changes. If the collection is dropped or renamed
    meanwhile, the scan ends. A view or a time series collection that has taken the name of a
    dropped collection has no change stream, and yields nothing here either. Close the generator
    (`contextlib.aclosing`) to free the cursor.

    Raises `SourceUnreachable` if MongoDB stays unavailable, and `SourceUnusable` if it refuses.
    """
    alternatives = [{name: {"$exists": True}} for name in sorted(with_one_of)]
    filters = [{"$or": alternatives}] if alternatives else []
    progress: list[Any] = []  # the last `_id`
    plan: _ScanPlan | None = None
    retries = 0
    while True:
        try:
            plan = plan or await _plan_scan(database, collection, fields, batch_size)
            if plan.is_without_stream:
                logger.error(
                    "%s is a view or a time series collection now, which has no change stream: its tables are empty. "
                    "Publish tables of the collection behind it instead.",
                    collection,
                    extra={"action": "collection-without-stream"},
                )
                return
            async with aclosing(_scan_once(database, collection, plan, filters, progress)) as batches:
                async for documents in batches:
                    retries = 0
                    yield documents
                    progress = _last_readable_id(documents) or progress
        except PyMongoError as error:
            reason = as_source_error(error)
            retries += 1
            if not isinstance(reason, SourceUnreachable) or retries > MAX_SCAN_RETRIES:
                raise reason from error
            logger.warning("snapshot: scan of %s interrupted, continuing (%s)", collection, reason)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


@dataclass(frozen=True, slots=True)
class _ScanPlan:
    batch_size: int
    projection: Projection | None = None
    is_without_stream: bool = False


async def _scan_once(
    database: Database, collection: str, plan: _ScanPlan, filters: Sequence[Any], progress: Sequence[Any]
) -> AsyncGenerator[Documents, None]:
    # `{_id: {$gt: x}}` compares within one BSON type and silently skips all later types; `$expr`
    # does not.
    after = [{"$expr": {"$gt": ["$_id", {"$literal": without_references(last)}]}} for last in progress]
    wanted = {"$and": [*filters, *after]} if filters or after else {}
    cursor = database[collection].find_raw_batches(
        wanted, plan.projection, sort=[("_id", 1)], batch_size=plan.batch_size
    )
    request = asyncio.ensure_future(_next_batch(cursor))
    try:
        while (raw := await request) is not None:
            request = asyncio.ensure_future(_next_batch(cursor))  # while the caller works on this one
            if documents := await _decode(raw):
                yield documents
    finally:
        await end_tasks(request)
        await cursor.close()


def _last_readable_id(documents: Documents) -> list[Any]:
    """Returns the last `_id` that a scan can continue after, as a list of one or none."""
    return next(([document["_id"]] for document in reversed(documents) if is_readable(document["_id"])), [])


async def _next_batch(cursor: AsyncRawBatchCursor[Any]) -> Any:
    """Returns the next raw batch, None at the end."""
    return await anext(cursor, None)


async def _plan_scan(database: Database, collection: str, fields: Collection[str], batch_size: int | None) -> _ScanPlan:
    projection = projection_for(fields)
    try:
        statistics = await database.command("collStats", collection)
    except OperationFailure as error:
        # With any other code, there is no such collection yet, or the user lacks the right.
        return _ScanPlan(batch_size or UNKNOWN_SCAN_BATCH_SIZE, projection, error.code == NOT_ON_A_VIEW)
    average_bytes = statistics.get("avgObjSize") or 1
    if projection is not None and not await _leaves_enough_out(database, collection, projection, average_bytes):
        projection = None
    fitting = max(1, min(MAX_SCAN_BATCH_SIZE, int(SCAN_BATCH_BYTES / average_bytes)))
    return _ScanPlan(batch_size or fitting, projection, bool(statistics.get("timeseries")))


async def _leaves_enough_out(database: Database, collection: str, projection: Projection, average_bytes: float) -> bool:
    """Whether it is cheaper to read with the projection, judging by a sample of documents."""
    if average_bytes < MIN_LEFT_OUT_BYTES:
        return False
    left_out = average_bytes - await _sampled_bytes(database, collection, projection)
    return left_out >= max(MIN_LEFT_OUT_BYTES, MIN_LEFT_OUT_SHARE * average_bytes)


async def _sampled_bytes(database: Database, collection: str, projection: Projection | None) -> float:
    """Returns the average size of a sample of documents that is read with the projection; 0 if
    there are no documents."""
    cursor = database[collection].find_raw_batches({}, projection, limit=SAMPLE_SIZE)
    batch = await _next_batch(cursor) or b""  # at most 16 MB
    await cursor.close()
    return len(batch) / max(1, sum(1 for _ in split_batch(batch)))


async def choose_projection(database: Database, collection: str, fields: Collection[str]) -> Projection | None:
    """Returns the cheapest projection for look-ups that need `fields`; None for whole documents. It
    reads some documents, so call it once for many look-ups. Raises `SourceUnreachable` or
    `SourceUnusable`."""
    projection = projection_for(fields)
    if projection is None:
        return None
    try:
        average_bytes = await _sampled_bytes(database, collection, None)
        return projection if await _leaves_enough_out(database, collection, projection, average_bytes) else None
    except PyMongoError as error:
        raise as_source_error(error) from error


async def find_documents(
    database: Database, collection: str, document_ids: Sequence[Any], projection: Projection | None = None
) -> AsyncIterator[Documents]:
    """Yields the documents with these ids that exist now, in no particular order. They come in
    batches of at most 16 MB, because small updates may concern large documents. Raises
    `SourceUnreachable` or `SourceUnusable`."""
    try:
        for start in range(0, len(document_ids), LOOKUP_BATCH_SIZE):
            wanted = list(map(without_references, document_ids[start : start + LOOKUP_BATCH_SIZE]))
            cursor = database[collection].find_raw_batches(
                {"_id": {"$in": wanted}}, projection, batch_size=LOOKUP_BATCH_SIZE
            )
            async for raw in cursor:
                yield await _decode(raw)
    except PyMongoError as error:
        raise as_source_error(error) from error


async def first_documents(database: Database, collection: str, limit: int) -> AsyncIterator[Documents]:
    """Yields the first `limit` documents in the order of `_id`, in batches of at most 16 MB. Raises
    `SourceUnreachable` or `SourceUnusable`."""
    try:
        async for raw in database[collection].find_raw_batches(sort=[("_id", 1)], limit=limit):
            yield await _decode(raw)
    except PyMongoError as error:
        raise as_source_error(error) from error


async def _decode(batch: Any) -> Documents:
    """Decodes a raw batch, which is bytes, whatever PyMongo's annotation of the cursor says."""
    return await decode_batch_in_pieces(batch)


async def estimate_count(database: Database, collection: str) -> int:
    """Returns about how many documents there are, by the collection's metadata. For progress only."""
    try:
        return await database[collection].estimated_document_count()
    except PyMongoError as error:
        raise as_source_error(error) from error
