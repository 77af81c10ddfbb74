"""Which published version is in force at a position of an app's change stream.

A version is in force from its marker on: from ordinal `FIRST_ORDINAL_AFTER_MARKER` at the marker's cluster time. A version
whose publish is under way has no position yet; its publisher says within seconds whether it took place, and who cannot
wait any longer ends it in the Django database, where the first to decide is the one who counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from changesource.errors import UnknownVersion
from changesource.models import store
from changesource.mongo.markers import PublishMarker
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.streaming.source_witness import SourceWitness

logger = logging.getLogger(__name__)

FIRST_ORDINAL_AFTER_MARKER = 0x8000
"""Transactions at a marker's cluster time have this ordinal or a later one just if they follow it."""

UNDECIDED_SECONDS = 30.0
"""After how long a publish that nobody has confirmed is ended: longer than any publisher waits."""
ASK_SECONDS = 0.05


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


class VersionHistory:
    """The versions of one app, compiled when they are first needed. Raises `django.db.Error` with the Django database.

    `source` knows the database that all of them stream from; None for one that nobody can mistake.
    """

    def __init__(self, app_id: str, source: SourceWitness | None = None) -> None:
        self.app_id = app_id
        self.source = source
        self._compiled: dict[tuple[int, str], CompiledVersion] = {}

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
        """As `SourceWitness.check`."""
        if self.source is not None:
            await self.source.check(database, position)

    async def published_by(self, marker: PublishMarker) -> CompiledVersion | None:
        """The version that begins at `marker`; None for the marker of a publish that did not take place."""
        for version in await self._decided():
            if version.number == marker.number and version.nonce == marker.nonce:
                return await self._get(version)
        logger.info("app %s: the marker of version %d is of no version", self.app_id, marker.number)
        return None

    async def _decided(self) -> Sequence[store.StoredVersion]:
        """All versions since the last one that began anew, once none of them is under way."""
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

    async def _stored(self) -> Sequence[store.StoredVersion]:
        return await store.stored_versions(self.app_id)

    async def _get(self, version: store.StoredVersion) -> CompiledVersion:
        key = version.number, version.nonce
        if key not in self._compiled:
            self._compiled[key] = CompiledVersion(await store.load_definition(version.nonce), version.number)
        return self._compiled[key]
