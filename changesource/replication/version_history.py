"""Which published version is in force at a position of an app's change stream.

A version is in force from its marker on: from ordinal `FIRST_ORDINAL_AFTER_MARKER` at the marker's cluster time. A version
whose publish is under way has no position yet; its publisher says within seconds whether it took place, and who cannot
wait any longer ends it in the Django database, where the first to decide is the one who counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from django.db import Error as DatabaseError

from changesource.errors import UnknownVersion
from changesource.models import client_store, store
from changesource.mongo.markers import AccessMarker, PublishMarker
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication.lookups import Lookup
from changesource.replication.source_identity import SourceIdentity

logger = logging.getLogger(__name__)

FIRST_ORDINAL_AFTER_MARKER = 0x8000
"""Transactions at a marker's cluster time have this ordinal or a later one just if they follow it."""

UNDECIDED_SECONDS = 30.0
"""After how long a publish that nobody has confirmed is ended: longer than any publisher waits."""
ASK_SECONDS = 0.05


FAILED_LOOKUP_SECONDS = 1.0
"""How long the Django database is left alone after it did not answer."""
STRANGER_SECONDS = 60.0
"""How often the log says that a marker was of no version: everybody who may write to the source can write one."""


def position_of_turn(cluster_time: int) -> Position:
    """Where the transaction of a publish, or of a change of a client's access, goes at the earliest."""
    return Position(cluster_time, FIRST_ORDINAL_AFTER_MARKER)


class Numbered(Protocol):
    """A version of something that begins at a marker: at `cluster_time`, None when nobody has met that yet."""

    @property
    def number(self) -> int: ...

    @property
    def cluster_time(self) -> int | None: ...

    @property
    def is_base(self) -> bool: ...


def number_in_force(versions: Sequence[Numbered], position: Position) -> int:
    """The number of the version in force at `position`. Raises `UnknownVersion`."""
    numbers = [
        version.number
        for version in versions
        if version.cluster_time is not None and (version.is_base or position >= position_of_turn(version.cluster_time))
    ]
    if not numbers:
        raise UnknownVersion
    return max(numbers)


def _is_marked_by(version: store.StoredVersion, marker: PublishMarker) -> bool:
    return version.number == marker.number and version.nonce == marker.nonce


class VersionHistory:
    """The versions of one app, compiled when they are first needed. Raises `django.db.Error` with the Django database.

    `source` knows the database that all of them stream from; None for one that nobody can mistake.
    """

    def __init__(self, app_id: str, source: SourceIdentity | None = None) -> None:
        self.app_id = app_id
        self.source = source
        self._compiled: dict[tuple[int, str], CompiledVersion] = {}
        self._versions: Lookup[Sequence[store.StoredVersion]] = Lookup()
        self._accesses: Lookup[Mapping[str, client_store.StoredTurn]] = Lookup()
        self._asks_accesses_at = 0.0
        self._stranger_noted_at = float("-inf")

    async def at(self, position: Position) -> CompiledVersion:
        """The version in force at a position that has been given out. Raises `UnknownVersion` when the app has none."""
        versions = await self._decided()
        number = number_in_force(versions, position)
        return await self._get(next(version for version in versions if version.number == number))

    async def after(self, number: int) -> tuple[CompiledVersion, ...]:
        """The versions that have been published since the one with this number, those under way not among them: they may not
        take place."""
        versions = [version for version in await self._stored() if version.cluster_time is not None]
        return tuple([await self._get(version) for version in versions if version.number > number])

    async def check_source(self, database: Database, position: Position | None = None) -> None:
        """As `SourceIdentity.check`."""
        if self.source is not None:
            await self.source.check(database, position)

    async def published_by(
        self, marker: PublishMarker, cluster_time: int, received_at: float
    ) -> CompiledVersion | None:
        """The version that begins at `marker`, which was met at `cluster_time` and received at `received_at` by the monotonic
        clock. None for the marker of a publish that did not take place, for a copy of one that did, and for any that
        somebody else wrote."""
        stored = await self._versions.answer(received_at, 0, self._stored)
        if not any(_is_marked_by(version, marker) for version in stored):
            self._note_stranger(marker)
            return None
        for version in await self._decided():
            if _is_marked_by(version, marker) and version.cluster_time == cluster_time:
                return await self._get(version)
        return None

    async def begins_access(self, marker: AccessMarker, cluster_time: int, received_at: float) -> bool:
        """Whether a client's access changes at `marker`, which was met and received as in `published_by`. A copy of a marker
        that has been met elsewhere changes nothing, and neither does any that somebody else wrote.

        Without an answer of the Django database the marker may count: a session asks again before anything is shown by it.
        """
        if time.monotonic() < self._asks_accesses_at:
            return True
        try:
            stored = await self._accesses.answer(
                received_at, cluster_time, lambda since: client_store.access_turns(self.app_id, since)
            )
        except DatabaseError as error:
            logger.warning("app %s: a change of access was not looked up (%s)", self.app_id, type(error).__name__)
            self._asks_accesses_at = time.monotonic() + FAILED_LOOKUP_SECONDS
            return True
        found = stored.get(marker.nonce)
        return found is not None and found.client_id == marker.client_id and found.cluster_time in (None, cluster_time)

    def _note_stranger(self, marker: PublishMarker) -> None:
        if time.monotonic() - self._stranger_noted_at > STRANGER_SECONDS:
            self._stranger_noted_at = time.monotonic()
            logger.info("app %s: the marker of version %d is of no version", self.app_id, marker.number)

    async def _stored(self, since: int = 0) -> Sequence[store.StoredVersion]:
        """All versions since the last one that began anew: few, whatever `since` is."""
        return await store.stored_versions(self.app_id)

    async def _decided(self) -> Sequence[store.StoredVersion]:
        """The same, once none of them is under way."""
        deadline = time.monotonic() + UNDECIDED_SECONDS
        while True:
            versions = await self._stored()
            undecided = [version for version in versions if version.cluster_time is None]
            if not undecided:
                return versions
            if time.monotonic() > deadline:
                for version in undecided:
                    logger.warning("app %s: nobody confirmed version %d; it is given up", self.app_id, version.number)
                    await store.abandon_publish(version.nonce)
            await asyncio.sleep(ASK_SECONDS)

    async def _get(self, version: store.StoredVersion) -> CompiledVersion:
        key = version.number, version.nonce
        if key not in self._compiled:
            self._compiled[key] = CompiledVersion(await store.load_definition(version.nonce), version.number)
        return self._compiled[key]
