"""Whether the database behind a source's URI is still the same, and was not set back."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid

from changesource.errors import (
    HistoryLost,
    InvalidWatermark,
    SourceInDoubt,
    SourceReadOnly,
    SourceReplaced,
    SourceUnreachable,
    SourceUnusable,
)
from changesource.models import queries
from changesource.mongo.change_stream import Batch, StreamContent, open_change_stream
from changesource.mongo.events import ChangeEvent
from changesource.mongo.markers import MARKERS_COLLECTION, read_source_id, write_source_id
from changesource.mongo.source import Database, majority_cluster_time
from changesource.protocol.watermarks import Position

logger = logging.getLogger(__name__)

CLOCK_SECONDS = 5.0
"""How long the source may take to reach a position that was read from it: after an election, a
majority has yet to confirm."""
POLL_SECONDS = 0.2
ID_DROP_SECONDS = 30.0
"""How long the change stream may take to show a dropped id. Nothing is sent until then."""

ANOTHER_DATABASE = "another database is behind the URI of its source"
ID_GONE = "its source no longer has the id that identified it: another database is behind the URI"
CLOCK_BEHIND = "its source has not reached what was read from it before: it was restored or replaced"


async def reaches(database: Database, position: Position) -> bool:
    """Whether a majority of the source reaches `position` within `CLOCK_SECONDS`."""
    deadline = time.monotonic() + CLOCK_SECONDS
    while await majority_cluster_time(database) < position.cluster_time:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def in_doubt(app_id: str, reason: str) -> str:
    """Says what is wrong with a source that is replaced again and again, and what to do."""
    return (
        f"{reason}. The app started over by itself less than a day ago, so it does not do so again, and does not read this "
        f"source. Find out what writes to {MARKERS_COLLECTION} and which database is behind the URI; then run manage.py "
        f"publish {app_id} --reset."
    )


class SourceIdentity:
    """Whether the source of one app is still the database that its positions come from. It belongs
    to one event loop.

    A position means something in one history only. If another database is behind the URI, MongoDB
    raises no error, and every replica silently becomes a mixture of both:

        time ──▶
        database A   1 …………………… 500           replicas are at 500
        database B       1' ……………… 520' …     is behind the URI now
        naive                      500' …     A's documents stay, and B's 1' to 499' never come

    - The source holds a random id for the app, in the markers' collection. The first check writes
      it, and stores it with the app's base version: the version from which on all others follow
      without a break.
    - `check` runs before a watcher takes the lease, when a reader begins with a change stream,
      before a session resumes, and before and after a snapshot. It compares the id. It also waits
      for the source's clock to reach what was read before: a source that was set back has the same
      id, but its clock is behind. (Not for long; docs/operations.md says what is missed.)
    - If either does not fit, the app starts over, as by `publish --reset`: with a new base version
      and another log, and each replica is told `reset-required`.
    - It does so at most once a day, because anyone with write access to the source can change the
      id. After that a person decides, and the source is not read.
    - A source without an id that may not be written to is only checked by its clock.

    A missing id does not prove that it is another database. While someone drops the database, reads
    show it empty before the change stream shows the drop:

        time ──▶
        dropDatabase   documents are gone ┄┄┄┄┄┄┄┄┄┄┄┄┄┄ the drop is in the change stream
        check               no id: reads the stream ┄┄┄ same database, the id is written again
        naive               no id: another database, and every replica is rebuilt for nothing

    So `check` reads the change stream from the position on. It is the same database if the stream
    shows that the id went, or if another reader that has seen this has written the same id again.
    """

    def __init__(self, app_id: str, base_nonce: str) -> None:
        self._app_id = app_id
        self._base_nonce = base_nonce
        self._source_id = ""

    async def check(self, database: Database, position: Position | None = None) -> None:
        """Returns if what was read up to `position` can be continued in this database. The position
        must come from the source itself; the default is the newest one that a replica has. The
        first check writes the id.

        Otherwise makes the app start over and raises `SourceReplaced`, or raises `SourceInDoubt` if
        it did so less than a day ago. Also raises `SourceUnreachable`, `SourceUnusable`, and
        `django.db.Error`.
        """
        if position is None:
            position = await self._newest_position()
        found = await read_source_id(database, self._app_id)
        if found is None or found != self._source_id:
            await self._compare(database, position)
        if position is not None and not await reaches(database, position):
            await self._start_over(found or "", CLOCK_BEHIND)

    async def doubt(self, database: Database) -> str:
        """Returns why `check` would raise `SourceInDoubt`, or an empty text. Changes nothing, and
        queries the source only if the app has started over by itself. Raises the other errors of
        `check`."""
        if not await queries.sources.has_just_started_over(self._base_nonce):
            return ""
        known = await queries.sources.source_id_of(self._base_nonce)
        found = await read_source_id(database, self._app_id)
        if known and found != known:
            return in_doubt(self._app_id, ID_GONE if found is None else ANOTHER_DATABASE)
        position = await self._newest_position()
        if position is not None and await majority_cluster_time(database) < position.cluster_time:
            return in_doubt(self._app_id, CLOCK_BEHIND)
        return ""

    async def restore_after(self, database: Database, batch: Batch) -> None:
        """Writes the id again if `batch`, which was read without a break, shows that it is gone.
        Raises `SourceUnreachable`, after which the batch has to be read again."""
        if self._source_id and any(map(self._removes_id, batch.events)):
            try:
                await self._restore(database)
            except SourceUnusable as error:  # while the database is being dropped
                raise SourceUnreachable(error.args[0]) from error

    async def _compare(self, database: Database, position: Position | None) -> None:
        known = self._source_id or await queries.sources.source_id_of(self._base_nonce)
        # The stored id is read before the source's: a process that identifies a source writes the
        # id to the source first.
        found = await read_source_id(database, self._app_id)
        if not known:
            found = found or await self._write_first_id(database)
            if found is not None:
                self._source_id = await queries.sources.keep_source_id(self._base_nonce, found)
        elif found is None:
            if not await self._was_removed(database, position, known):
                await self._start_over("", ID_GONE)
            self._source_id = known
            await self._restore(database)
        elif found == known:
            self._source_id = known
        else:
            await self._start_over(found, ANOTHER_DATABASE)

    async def _write_first_id(self, database: Database) -> str | None:
        """Gives an id to a source that had none, and returns it; None if this is not allowed."""
        try:
            await write_source_id(database, self._app_id, uuid.uuid4().hex)
        except SourceReadOnly:
            return None
        return await read_source_id(database, self._app_id)

    async def _restore(self, database: Database) -> None:
        try:
            await write_source_id(database, self._app_id, self._source_id)
        except SourceReadOnly as error:
            logger.warning("app %s: its source has lost its id, which cannot be written again: %s", self._app_id, error)
        else:
            logger.info("app %s: the id of its source was written again", self._app_id)

    async def _was_removed(self, database: Database, position: Position | None, known: str) -> bool:
        """Whether the change stream shows that the id was removed, or another reader that has seen
        this has written it again. While a database is being dropped, the stream may show only
        seconds later what a read shows."""
        if position is None:
            return False  # no replica has anything that could be wrong
        deadline = time.monotonic() + ID_DROP_SECONDS
        try:
            stream = await open_change_stream(
                database, StreamContent(markers_of=self._app_id), position.cluster_time, splits_large_events=False
            )
            try:
                while time.monotonic() < deadline:
                    batch = await stream.next_batch()
                    if any(map(self._removes_id, batch.events)):
                        return True
                    if batch.is_end and await read_source_id(database, self._app_id) == known:
                        return True
            finally:
                await stream.close()
        except HistoryLost:
            return False
        return False

    def _removes_id(self, event: ChangeEvent) -> bool:
        if event.collection != MARKERS_COLLECTION:
            return event.renamed_to == MARKERS_COLLECTION
        is_id = event.document_id == f"source:{self._app_id}"
        return event.operation == "drop" or (event.operation == "delete" and is_id)

    async def _newest_position(self) -> Position | None:
        try:
            return Position.from_watermark(await queries.replicas.newest_watermark(self._base_nonce))
        except InvalidWatermark:
            return None

    async def _start_over(self, source_id: str, reason: str) -> None:
        if not await queries.sources.start_over(self._app_id, self._base_nonce, source_id, reason):
            raise SourceInDoubt(f"App {self._app_id}: {in_doubt(self._app_id, reason)}")
        logger.error("app %s starts over: %s", self._app_id, reason, extra={"action": "start-over"})
        raise SourceReplaced(f"App {self._app_id} starts over: {reason}.")
