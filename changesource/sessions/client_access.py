"""What one client may read of one app while it is connected, and the places where that changes.

A grant is changed in the Django database, at no place in the stream. So a change becomes an *access
version*, and takes effect where a marker of it lies in the source, as a published version does:

    Django database  grant changed · access 2 stored ············· "access 2 begins at M"
                                      │                           ▲
    any session                       └ writes a marker ──┐       │ first reader that meets it
                                                          ▼       │
    change stream    ──── changes ──────────────c─────────M──── changes ────▶
    replica          ──── access 1 ────┬ access 1, less ──┤
                                       │ what 2 takes     └ transition to access 2
                                       │ away
                                       withheld from here on

- A session that finds the grant changed stores the next access version and writes a marker with its
  nonce. Several may do so at once: the number is unique, and readers skip a second marker with the
  same nonce.
- The first reader that meets the marker stores its cluster time, M.
- At M every session makes the same transition. So a watermark tells under which access its rows
  were sent, whichever process is asked.
- Between storing an access version and its marker, nothing is sent of what it takes away. The next
  transition loads again what was withheld and is still shown. The same goes for a published version
  that the stream has not reached.

Without a place in the stream, two processes would disagree about what a replica holds:

    process A   ── access 1 ──┬─ access 2 ── W ╳
    process B                                   resumes at W: are its rows those of access 1 or 2?

Without withholding, a replica that lags would go on receiving what the client may no longer see. An
update at c is looked up when it is read, and then the document is as it is *now*: it may have been
written long after the grant was changed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from django.utils import timezone

from changesource.errors import SourceReadOnly, UnknownVersion
from changesource.log.entries import Entry
from changesource.models import queries
from changesource.models.queries.access import ClientInApp, Entitlements, StoredAccess
from changesource.models.queries.clients import Identity
from changesource.mongo.markers import AccessMarker, write_access_marker
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import Access, ClientView, Withheld
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.version_changes import version_changes
from changesource.replication.version_history import VersionHistory, number_in_force

MARK_AGAIN_SECONDS = 10.0
"""After how long a marker that has not come back is written again: its writer may have died."""


class ClientAccess:
    """One connection's access to one app.

    `entitlements` are what the client may have, as far as is known here. `coming` are the published
    versions whose markers the stream has not come to.
    """

    def __init__(
        self, identity: Identity, app_id: str, publications: Sequence[str], entitlements: Entitlements
    ) -> None:
        self.key = ClientInApp(identity.client_id, app_id)
        self.entitlements = entitlements
        self._attributes = dict(identity.attributes)
        self._publications = tuple(publications)
        self._marked_at: dict[str, float] = {}
        self.coming: tuple[CompiledVersion, ...] = ()

    @property
    def publications(self) -> tuple[str, ...]:
        """Those that zero-cache asked for; empty for everything."""
        return self._publications

    @property
    def scope(self) -> str:
        """A digest of what the rows depend on besides the stored access: the attributes in the
        token, and the publications that were asked for. Empty when there are neither."""
        if not self._attributes and not self._publications:
            return ""
        said = json.dumps([self._attributes, sorted(set(self._publications))], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def note(self, entitlements: Entitlements) -> None:
        """Takes what the client may have, unless something newer is known."""
        if entitlements.progress >= self.entitlements.progress:
            self.entitlements = entitlements

    @property
    def is_in_force(self) -> bool:
        """Whether the newest access version is what the grant says, and its marker was met."""
        newest = self._newest
        return newest is not None and newest.cluster_time is not None and newest.access == self.entitlements.wanted

    async def apply_grant(self, database: Database, marks_after: float = 0.0) -> None:
        """Stores what the grant says as an access version, and writes its marker, at the earliest
        `marks_after` seconds after the version was stored. Named queries are answered by the grant
        at once, and zero-cache has to forget earlier answers before a table goes that they read.

        Where no marker may be written, the access version is a base: no replica continues over it.
        Cheap when there is nothing to do. Raises `SourceUnreachable`, `SourceUnusable`,
        `django.db.Error`.
        """
        newest = self._newest
        if newest is None or (newest.cluster_time is not None and newest.access != self.entitlements.wanted):
            await queries.access.begin_access(self.key)
            await self._read_versions()
            newest = self._newest
        if newest is None or newest.cluster_time is not None:
            return
        if (timezone.now() - newest.stored_at).total_seconds() < marks_after:
            return
        now = time.monotonic()
        if now - self._marked_at.get(newest.nonce, -MARK_AGAIN_SECONDS) < MARK_AGAIN_SECONDS:
            return
        self._marked_at = {newest.nonce: now}
        try:
            await write_access_marker(database, self.key.app_id, AccessMarker(self.key.client_id, newest.nonce))
        except SourceReadOnly:
            await queries.access.begin_access(self.key, without_marker=True)
            await self._read_versions()

    def view_at(self, version: CompiledVersion, position: Position) -> ClientView:
        """What is shown of `version` at a position of the stream. Raises `UnknownVersion`."""
        return self._view(version, self._stored(self.access_number_at(position)))

    async def view_after(self, entry: Entry, view: ClientView) -> ClientView | None:
        """What is shown from `entry` on, if what this client may read changes there; else None.
        Raises `django.db.Error`."""
        cutover = entry.access_cutover
        if cutover is None or cutover.client_id != self.key.client_id:
            return None
        if not self._has_met(cutover.nonce):
            await queries.access.confirm_access(cutover.nonce, cutover.cluster_time)
            await self._read_versions()
        number = self.access_number_at(entry.position)
        return self._view(view.version, self._stored(number)) if number > view.access_number else None

    def _has_met(self, nonce: str) -> bool:
        """Whether the place of the access version is known. Anyone who may write to the source can
        repeat a marker."""
        return any(stored.nonce == nonce and stored.cluster_time is not None for stored in self.entitlements.versions)

    def with_version(self, version: CompiledVersion, view: ClientView) -> ClientView:
        """What is shown of `version` under the access of `view`."""
        return self._view(version, self._stored(view.access_number))

    def withheld(self, view: ClientView) -> Withheld:
        """What goes, or is loaded again, at the stored markers, in whichever order they come.

        It only grows with what is known. So when a table that stays has to be loaded again, the
        session that does so, which may be a later one, knows everything that was withheld from the
        replica.
        """
        versions = [view.version, *(version for version in self.coming if version.number > view.version.number)]
        accesses = [stored for stored in self.entitlements.versions if stored.number >= view.access_number]
        changes = [
            version_changes(view, self._view(version, stored))
            for version in versions
            for stored in accesses
            if version is not view.version or stored.number != view.access_number
        ]
        columns: dict[str, set[str]] = {}
        for dropped in chain.from_iterable(each.dropped_columns for each in changes):
            columns.setdefault(dropped.table, set()).add(dropped.column)
        return Withheld(
            frozenset().union(*(each.changed_tables for each in changes)),
            {table: frozenset(names) for table, names in columns.items()},
        )

    def access_number_at(self, position: Position) -> int:
        """The number of the access version in force at a position. Raises `UnknownVersion`."""
        return number_in_force(self.entitlements.versions, position)

    def began_at(self, number: int) -> int:
        """The cluster time of the marker with which an access version began, 0 if it has none."""
        return next((each.cluster_time or 0 for each in self.entitlements.versions if each.number == number), 0)

    @property
    def _newest(self) -> StoredAccess | None:
        return self.entitlements.versions[-1] if self.entitlements.versions else None

    async def _read_versions(self) -> None:
        self.note(replace(self.entitlements, versions=await queries.access.access_versions(self.key)))

    def _stored(self, number: int) -> StoredAccess:
        for stored in self.entitlements.versions:
            if stored.number == number:
                return stored
        raise UnknownVersion(f"Access {number} of client {self.key.client_id} to {self.key.app_id} is not stored.")

    def _view(self, version: CompiledVersion, stored: StoredAccess) -> ClientView:
        access = Access.from_json(stored.access)
        access = replace(access, attributes={**access.attributes, **self._attributes})
        return ClientView(version, access, self._publications, access_number=stored.number)


class ViewHistory:
    """The places at which a connection's view changes: publishes, and changes of what its client
    may read."""

    def __init__(self, history: VersionHistory, access: ClientAccess) -> None:
        self.history = history
        self.access = access

    async def view_at(self, position: Position) -> ClientView:
        """The view at a position of the stream. Raises `UnknownVersion`, `django.db.Error`."""
        return self.access.view_at(await self.history.at(position), position)

    async def look_ahead(self, view: ClientView) -> None:
        """Reads the versions published after that of `view`. Raises `django.db.Error`."""
        self.access.coming = await self.history.after(view.version.number)

    async def after(self, entry: Entry, view: ClientView) -> ClientView | None:
        """The view that begins at `entry`, None if it is still `view`. Asking twice is harmless.

        Raises `UnknownVersion`, `django.db.Error`.
        """
        if entry.is_publish:
            if entry.version <= view.version.number:
                return None
            return self.access.with_version(await self.history.at(entry.position), view)
        return await self.access.view_after(entry, view) if entry.access_cutover is not None else None
