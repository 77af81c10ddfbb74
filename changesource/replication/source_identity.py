"""Whether the database behind a source's URI is the one that it was, and has not been set back.

The app's source holds a random id, written once. It is kept with the version from which on all follow one another without
a break, the base. Whoever begins to read the change stream compares. If it is another one, or the source's clock has not
reached what was read before, no position of before means anything there: the app begins anew, as by `publish --reset`,
with another log, and every replica is told so. It does so once in a day at most: everybody who may write to the source can
change the id. After that a person decides, and the source is not read.

A source that may not be written to and has no id is only held by its clock.
"""

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
from changesource.models import source_store
from changesource.mongo.change_stream import Batch, StreamContent, open_change_stream
from changesource.mongo.events import ChangeEvent
from changesource.mongo.markers import MARKERS_COLLECTION, read_source_id, write_source_id
from changesource.mongo.source import Database, majority_cluster_time
from changesource.protocol.watermarks import Position

logger = logging.getLogger(__name__)

CLOCK_SECONDS = 5.0
"""How long the source may take to reach a position that was read of it: after an election, until a majority confirms."""
POLL_SECONDS = 0.2
MARK_SECONDS = 30.0
"""How long the change stream may take to show that the id was dropped. Nothing is sent until then."""

ANOTHER_DATABASE = "another database is behind the URI of its source"
MARK_GONE = "its source has lost the mark by which it was known: another database is behind the URI"
CLOCK_BEHIND = "its source has not reached what was read of it before: it was restored or replaced"


async def reaches(database: Database, position: Position) -> bool:
    """Whether a majority of the source has come to `position`, or does within `CLOCK_SECONDS`."""
    deadline = time.monotonic() + CLOCK_SECONDS
    while await majority_cluster_time(database) < position.cluster_time:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


def in_doubt(app_id: str, reason: str) -> str:
    """What is wrong with a source that is replaced time and again, and what to do."""
    return (
        f"{reason}. The app began anew by itself less than a day ago, so it does not do so again, and does not read this "
        "source. Find out what writes to zero_sources_markers or stands behind the URI; then run manage.py publish "
        f"{app_id} --reset."
    )


class SourceIdentity:
    """Of one base version of one app. Belongs to one event loop."""

    def __init__(self, app_id: str, base_nonce: str) -> None:
        self._app_id = app_id
        self._base_nonce = base_nonce
        self._source_id = ""

    async def check(self, database: Database, position: Position | None = None) -> None:
        """Raises `SourceReplaced`, after the app has begun anew, if what was read until `position` cannot be continued in
        this database, or `SourceInDoubt` if the app did so a short while ago already. The position is one that the source
        itself has given; without it, the newest that a replica has.

        The first look writes the id. Raises `SourceUnreachable`, `SourceUnusable`, and `django.db.Error`.
        """
        if position is None:
            position = await self._newest_position()
        found = await read_source_id(database, self._app_id)
        if found is None or found != self._source_id:
            await self._compare(database, position)
        if position is not None and not await reaches(database, position):
            await self._begin_anew(found or "", CLOCK_BEHIND)

    async def doubt(self, database: Database) -> str:
        """Why `check` would raise `SourceInDoubt`, empty if it would not. Changes nothing, and asks the source only after the
        app has begun anew by itself. Raises as `check` does."""
        if not await source_store.has_just_begun_anew(self._base_nonce):
            return ""
        known = await source_store.source_id_of(self._base_nonce)
        found = await read_source_id(database, self._app_id)
        if known and found != known:
            return in_doubt(self._app_id, MARK_GONE if found is None else ANOTHER_DATABASE)
        position = await self._newest_position()
        if position is not None and await majority_cluster_time(database) < position.cluster_time:
            return in_doubt(self._app_id, CLOCK_BEHIND)
        return ""

    async def restore_after(self, database: Database, batch: Batch) -> None:
        """Writes the id again if `batch`, read without a break, shows that it was lost. Raises `SourceUnreachable`: then
        the batch has to be read again."""
        if self._source_id and any(map(self._takes_id_away, batch.events)):
            try:
                await self._restore(database)
            except SourceUnusable as error:  # while the database is being dropped
                raise SourceUnreachable(error.args[0]) from error

    async def _compare(self, database: Database, position: Position | None) -> None:
        known = self._source_id or await source_store.source_id_of(self._base_nonce)
        # In this order: who marks a source writes the id there first.
        found = await read_source_id(database, self._app_id)
        if not known:
            found = found or await self._mark(database)
            if found is not None:
                self._source_id = await source_store.keep_source_id(self._base_nonce, found)
        elif found is None:
            if not await self._was_taken_away(database, position, known):
                await self._begin_anew("", MARK_GONE)
            self._source_id = known
            await self._restore(database)
        elif found == known:
            self._source_id = known
        else:
            await self._begin_anew(found, ANOTHER_DATABASE)

    async def _mark(self, database: Database) -> str | None:
        """The id of a source that had none; None where it may not be written."""
        try:
            await write_source_id(database, self._app_id, uuid.uuid4().hex)
        except SourceReadOnly:
            return None
        return await read_source_id(database, self._app_id)

    async def _restore(self, database: Database) -> None:
        try:
            await write_source_id(database, self._app_id, self._source_id)
        except SourceReadOnly as error:
            logger.warning("app %s: its source is not marked any more: %s", self._app_id, error)
        else:
            logger.info("app %s: its source is marked again", self._app_id)

    async def _was_taken_away(self, database: Database, position: Position | None, known: str) -> bool:
        """Whether the change stream says so, or somebody who read it there has written the id again: then it is the same
        database. What a read shows may come in the stream only seconds later, while a database is being dropped."""
        if position is None:
            return False  # nobody has anything that could be wrong
        deadline = time.monotonic() + MARK_SECONDS
        try:
            stream = await open_change_stream(
                database, StreamContent(markers_of=self._app_id), position.cluster_time, splits_large_events=False
            )
            try:
                while time.monotonic() < deadline:
                    batch = await stream.next_batch()
                    if any(map(self._takes_id_away, batch.events)):
                        return True
                    if batch.is_end and await read_source_id(database, self._app_id) == known:
                        return True
            finally:
                await stream.close()
        except HistoryLost:
            return False
        return False

    def _takes_id_away(self, event: ChangeEvent) -> bool:
        if event.collection != MARKERS_COLLECTION:
            return event.renamed_to == MARKERS_COLLECTION
        is_id = event.document_id == f"source:{self._app_id}"
        return event.operation == "drop" or (event.operation == "delete" and is_id)

    async def _newest_position(self) -> Position | None:
        try:
            return Position.from_watermark(await source_store.newest_watermark(self._base_nonce))
        except InvalidWatermark:
            return None

    async def _begin_anew(self, source_id: str, reason: str) -> None:
        if not await source_store.begin_anew(self._app_id, self._base_nonce, source_id, reason):
            raise SourceInDoubt(f"App {self._app_id}: {in_doubt(self._app_id, reason)}")
        logger.error("app %s begins anew: %s", self._app_id, reason, extra={"action": "begin-anew"})
        raise SourceReplaced(f"App {self._app_id} begins anew: {reason}.")
