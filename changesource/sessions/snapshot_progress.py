"""Reports how far a snapshot has come: in the log, and in the Django database for the API and
admin."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.db import Error as DatabaseError
from django.utils import timezone

from changesource.models import queries
from changesource.models.queries.snapshots import SnapshotState
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)

NOTE_SECONDS = 5.0
"""How often the log and the Django database are told."""


class SnapshotProgress:
    """What a snapshot has read and sent. `label` is its app and shard, for people."""

    def __init__(self, app_id: str, shard_num: int, client_id: int) -> None:
        self.label = f"{app_id}/{shard_num}"
        self.state = SnapshotState(uuid.uuid4().hex, app_id, client_id, shard_num, timezone.now())
        self._began = 0.0

    def begin(self) -> None:
        """Notes that the snapshot has its slot."""
        self.state.began_at = timezone.now()
        self._began = time.monotonic()

    def describe(self) -> str:
        """The progress in one line of the log."""
        state = self.state
        if state.began_at is None:
            return "waits for a slot (SNAPSHOTS_PER_APP)"
        seconds = max(time.monotonic() - self._began, 0.001)
        text = f"{state.rows} rows, {state.documents} of about {state.total_documents} documents"
        text += f", {state.rows / seconds:.0f} rows/s"
        if state.documents:
            left = max(0, state.total_documents - state.documents) * seconds / state.documents
            text += f", about {left:.0f} s left"
        return text


class DocumentCounts:
    """Counts documents read and to be read, by collection, and keeps their sums in a state.

    Until a collection has ended, at least one more document is expected: collections grow, and
    their counts are estimates.
    """

    def __init__(self, state: SnapshotState) -> None:
        self._state = state
        self._expected: dict[str, int] = {}
        self._read: Counter[str] = Counter()

    def expect(self, collection: str, documents: int) -> None:
        """Notes that the collection has about this many documents."""
        self._expected[collection] = max(documents, self._expected.get(collection, 0))
        self._add_up()

    def add(self, collection: str, documents: int) -> None:
        """Notes that this many more documents have been read."""
        self._read[collection] += documents
        self._expected[collection] = max(self._expected[collection], self._read[collection] + 1)
        self._add_up()

    def end(self, collection: str) -> None:
        """Notes that the whole collection has been read."""
        self._expected[collection] = self._read[collection]
        self._add_up()

    def _add_up(self) -> None:
        self._state.documents = self._read.total()
        self._state.total_documents = sum(self._expected.values())


@asynccontextmanager
async def shown(progress: SnapshotProgress) -> AsyncIterator[None]:
    """Reports every few seconds how far the snapshot has come, until the block ends."""
    task = asyncio.create_task(_tell(progress))
    try:
        yield
    finally:
        await end_tasks(task)
        try:
            await queries.snapshots.forget_snapshot(progress.state.token)
        except DatabaseError as error:  # then it is forgotten by its age
            logger.warning("snapshot of %s: its end was not stored (%s)", progress.label, type(error).__name__)


async def _tell(progress: SnapshotProgress) -> None:
    while True:
        try:
            await queries.snapshots.note_snapshot(progress.state)
        except DatabaseError as error:  # nothing depends on it
            logger.warning("snapshot of %s: its progress was not stored (%s)", progress.label, type(error).__name__)
        await asyncio.sleep(NOTE_SECONDS)
        logger.info("snapshot of %s: %s", progress.label, progress.describe(), extra={"action": "snapshot-progress"})
