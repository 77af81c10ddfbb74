"""What a process does from time to time, whatever its streams are doing: it stores row errors,
prunes what is too old, and collects Python's cyclic garbage."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

from django.db import Error as DatabaseError

from changesource.models import queries
from changesource.replication.row_error_notes import RowErrorNotes

logger = logging.getLogger(__name__)

PRUNE_SECONDS = 3600.0
"""How often replicas, audit entries and refusals that are too old are deleted."""
ROW_ERRORS_SECONDS = 10.0
"""How often a process that watches reads which documents have row errors."""
YOUNG_OBJECTS = 20_000
"""How many new objects the collector examines together: this takes some two milliseconds."""
NEVER = 1_000_000_000
COLLECT_SECONDS = 60.0


class Housekeeping:
    """The periodic work of one process, between `begin` and `end`. Its caller runs each of `duties`
    about once a second.

    `app_ids` limits the work to some apps; empty for all. `audit_days` is how long the audit is
    kept.
    """

    def __init__(self, app_ids: Collection[str], audit_days: int) -> None:
        self.row_errors = RowErrorKeeping(app_ids)
        self._audit_days = audit_days
        self._prune_at = 0.0
        self._garbage = GarbageCollection()

    async def begin(self, *, watches: bool) -> None:
        """Prepares the periodic work. `watches`: this process runs watchers, which need to know the
        documents that have row errors."""
        self.row_errors.is_refreshed = watches
        self._garbage.begin()
        await self.row_errors.refresh_if_due()

    def end(self) -> None:
        """Gives Python its own garbage collection back. A second call changes nothing."""
        self._garbage.end()

    @property
    def duties(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (
            self._prune_if_due,
            self.row_errors.store_pending,
            self.row_errors.refresh_if_due,
            self._garbage.collect_if_due,
        )

    async def _prune_if_due(self) -> None:
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + PRUNE_SECONDS
        try:
            await queries.pruning.prune_replicas()
            await queries.audit.prune_audit(self._audit_days)
        except DatabaseError as error:
            logger.warning("old records could not be pruned (%s); trying again in an hour", type(error).__name__)


class RowErrorKeeping:
    """The row errors of all apps of one process, on their way to and from the Django database."""

    def __init__(self, app_ids: Collection[str]) -> None:
        self.is_refreshed = False
        """Whether the documents that have row errors are read: only a watcher needs them."""
        self._app_ids = app_ids
        self._notes: dict[str, RowErrorNotes] = {}
        self._refresh_at = 0.0

    def notes_of(self, app_id: str) -> RowErrorNotes:
        return self._notes.setdefault(app_id, RowErrorNotes())

    async def refresh_if_due(self) -> None:
        """Reads which documents have row errors, once in `ROW_ERRORS_SECONDS`."""
        if not self.is_refreshed or time.monotonic() < self._refresh_at:
            return
        self._refresh_at = time.monotonic() + ROW_ERRORS_SECONDS
        try:
            stored = await queries.row_errors.documents_with_row_errors(self._app_ids)
        except DatabaseError as error:
            logger.warning("row errors could not be read (%s)", type(error).__name__)
            return
        for app_id in stored.keys() | self._notes.keys():
            self.notes_of(app_id).know(stored.get(app_id, {}))

    async def store_pending(self) -> None:
        """Stores the row errors, and the ends of row errors, that are pending."""
        for app_id, notes in list(self._notes.items()):
            ended, errors = notes.take()
            if not ended and not errors:
                continue
            try:
                await queries.row_errors.record_row_errors(app_id, errors, ended)
            except DatabaseError as error:
                logger.warning(
                    "%d row errors of %s could not be stored (%s)", len(errors), app_id, type(error).__name__
                )


class GarbageCollection:
    """Python's collection of cyclic garbage in the whole process, at times when it holds nothing
    up, between `begin` and `end`.

    Left to itself, Python examines all objects of the process time after time while a large
    document becomes many small objects: this takes a fifth of a second for 120,000 rows, during
    which nothing else runs. Documents and rows have no cycles and do not need it. So only young
    objects are examined as they come, and all objects once a minute.
    """

    def __init__(self) -> None:
        self._usual = gc.get_threshold()
        self._collect_at = 0.0

    def begin(self) -> None:
        """Objects that exist now (modules, for the most part) are not examined again."""
        self._usual = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, NEVER, NEVER)
        self._collect_at = time.monotonic() + COLLECT_SECONDS

    async def collect_if_due(self) -> None:
        """Examines all objects, once in `COLLECT_SECONDS`. It is a coroutine only because it is one
        of `Housekeeping.duties`."""
        if time.monotonic() >= self._collect_at:
            gc.collect()
            self._collect_at = time.monotonic() + COLLECT_SECONDS

    def end(self) -> None:
        """Restores what `begin` changed. A second call changes nothing."""
        gc.set_threshold(*self._usual)
        gc.unfreeze()
