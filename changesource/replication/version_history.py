"""Which published version is in force at a position of an app's change stream.

A version is in force from its marker on: from ordinal `FIRST_ORDINAL_AFTER_MARKER` at the marker's
cluster time. A version whose publish is under way has no position yet. Its publisher stores within
seconds whether the publish took place; a reader that cannot wait any longer ends the publish in the
Django database, where the first decision counts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Protocol

from django.db import Error as DatabaseError

from changesource.errors import UnknownVersion
from changesource.models import queries
from changesource.models.queries.access import StoredCutover
from changesource.models.queries.published import StoredVersion
from changesource.mongo.markers import AccessMarker, PublishMarker
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication.lookups import Lookup
from changesource.replication.source_identity import SourceIdentity

logger = logging.getLogger(__name__)

FIRST_ORDINAL_AFTER_MARKER = 0x8000
"""A transaction at a marker's cluster time has this ordinal or a later one if and only if it
follows the marker."""

UNDECIDED_SECONDS = 30.0
"""After how long an unconfirmed publish is ended: longer than any publisher waits."""
ASK_SECONDS = 0.05
FAILED_LOOKUP_SECONDS = 1.0
"""How long the Django database is not queried again after it failed."""
MAX_COMPILED = 32
"""How many versions are kept compiled. Streams look at the newest ones, and at those between a replica that
lags and the newest; others are compiled again."""
STRANGER_SECONDS = 60.0
"""How often, at most, unknown markers are logged: anyone who may write can write them."""


def position_of_cutover(cluster_time: int) -> Position:
    """Returns the earliest position of the transaction of a cutover."""
    return Position(cluster_time, FIRST_ORDINAL_AFTER_MARKER)


class Numbered(Protocol):
    """A version of something that begins at a marker, whose `cluster_time` is None until it is met."""

    @property
    def number(self) -> int: ...

    @property
    def cluster_time(self) -> int | None: ...

    @property
    def is_base(self) -> bool: ...


def number_in_force(versions: Sequence[Numbered], position: Position) -> int:
    """Returns the number of the version in force at `position`. Raises `UnknownVersion`."""
    numbers = [
        version.number
        for version in versions
        if version.cluster_time is not None
        and (version.is_base or position >= position_of_cutover(version.cluster_time))
    ]
    if not numbers:
        raise UnknownVersion
    return max(numbers)


def _is_marked_by(version: StoredVersion, marker: PublishMarker) -> bool:
    return version.number == marker.number and version.nonce == marker.nonce


class VersionHistory:
    """The versions of one app, each compiled when it is needed. Methods raise
    `django.db.Error` if the Django database fails.

    `source` identifies the database that these versions stream from; None if it need not be
    checked.
    """

    def __init__(self, app_id: str, source: SourceIdentity | None = None) -> None:
        self.app_id = app_id
        self.source = source
        self._compiled: OrderedDict[tuple[int, str], CompiledVersion] = OrderedDict()
        self._versions: Lookup[Sequence[StoredVersion]] = Lookup()
        self._accesses: Lookup[Mapping[str, StoredCutover]] = Lookup()
        self._asks_accesses_at = 0.0
        self._stranger_noted_at = float("-inf")

    async def at(self, position: Position) -> CompiledVersion:
        """Returns the version in force at a position that a reader has given out. Raises
        `UnknownVersion` if the app has none."""
        versions = await self._decided()
        number = number_in_force(versions, position)
        return await self._get(next(version for version in versions if version.number == number))

    async def after(self, number: int) -> tuple[CompiledVersion, ...]:
        """Returns the versions that have been published since the one with this number, without
        those under way, which may not take place."""
        versions = [version for version in await self._stored() if version.cluster_time is not None]
        return tuple([await self._get(version) for version in versions if version.number > number])

    async def began_at(self, number: int) -> int:
        """Returns the cluster time of the marker with which a version began, 0 if it has none."""
        return next((version.cluster_time or 0 for version in await self._stored() if version.number == number), 0)

    async def check_source(self, database: Database, position: Position | None = None) -> None:
        """Does what `SourceIdentity.check` does."""
        if self.source is not None:
            await self.source.check(database, position)

    async def published_by(
        self, marker: PublishMarker, cluster_time: int, received_at: float
    ) -> CompiledVersion | None:
        """Returns the version that begins at `marker`, which was met at `cluster_time` and received
        at `received_at` by the monotonic clock. Returns None for the marker of a publish that did
        not take place, for a copy of a marker, and for one that is not ours."""
        stored = await self._versions.answer(received_at, 0, self._stored)
        if not any(_is_marked_by(version, marker) for version in stored):
            self._note_stranger(marker)
            return None
        for version in await self._decided():
            if _is_marked_by(version, marker) and version.cluster_time == cluster_time:
                return await self._get(version)
        return None

    async def begins_access(self, marker: AccessMarker, cluster_time: int, received_at: float) -> bool:
        """Whether a client's access changes at `marker`, which was met and received as in
        `published_by`. It does not at a copy of a marker that has been met elsewhere, nor at one
        that is not ours.

        If the Django database fails, the answer is yes: a session looks the access up again before
        it shows anything by it.
        """
        if time.monotonic() < self._asks_accesses_at:
            return True
        try:
            stored = await self._accesses.answer(
                received_at, cluster_time, lambda since: queries.access.access_cutovers(self.app_id, since)
            )
        except DatabaseError as error:
            logger.warning("app %s: a change of access could not be looked up (%s)", self.app_id, type(error).__name__)
            self._asks_accesses_at = time.monotonic() + FAILED_LOOKUP_SECONDS
            return True
        found = stored.get(marker.nonce)
        return found is not None and found.client_id == marker.client_id and found.cluster_time in (None, cluster_time)

    def _note_stranger(self, marker: PublishMarker) -> None:
        if time.monotonic() - self._stranger_noted_at > STRANGER_SECONDS:
            self._stranger_noted_at = time.monotonic()
            logger.info("app %s: a marker names version %d but belongs to no version", self.app_id, marker.number)

    async def _stored(self, since: int = 0) -> Sequence[queries.published.StoredVersion]:
        """Returns all versions since the base version. They are few, whatever `since` is."""
        return await queries.published.stored_versions(self.app_id)

    async def _decided(self) -> Sequence[queries.published.StoredVersion]:
        """Returns all versions since the base version, once none of them is under way."""
        deadline = time.monotonic() + UNDECIDED_SECONDS
        while True:
            versions = await self._stored()
            undecided = [version for version in versions if version.cluster_time is None]
            if not undecided:
                return versions
            if time.monotonic() > deadline:
                for version in undecided:
                    logger.warning(
                        "app %s: version %d was not confirmed; its publish is ended", self.app_id, version.number
                    )
                    await queries.published.abandon_publish(version.nonce)
            await asyncio.sleep(ASK_SECONDS)

    async def _get(self, version: StoredVersion) -> CompiledVersion:
        key = version.number, version.nonce
        compiled = self._compiled.get(key)
        if compiled is None:
            definition = await queries.published.load_definition(version.nonce)
            compiled = self._compiled[key] = CompiledVersion(definition, version.number)
        self._compiled.move_to_end(key)
        while len(self._compiled) > MAX_COMPILED:
            self._compiled.popitem(last=False)
        return compiled
