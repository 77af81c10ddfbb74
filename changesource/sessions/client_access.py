"""What one client may read of one app, as its connection goes on.

What a grant says is stored as a numbered version, and a marker in the source says where it begins, as with a published
version: a watermark so tells what its replica was sent under, whichever process asks. Whoever notices that the grant
says something else stores the next version and writes the marker; who meets the marker first notes where. Before
that, what is about to change is not sent any more. The same holds for what a published version takes away: rows of before
it are looked up as the documents are now, so a replica that stays behind would otherwise read on what nobody may read.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

from changesource.errors import SourceReadOnly, UnknownVersion
from changesource.log.entries import Entry
from changesource.models import client_store
from changesource.models.client_store import ClientInApp, Entitlements, Identity, StoredAccess
from changesource.mongo.markers import AccessMarker, write_access_marker
from changesource.mongo.source import Database
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import Access, ClientView, Withheld
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.version_changes import version_changes
from changesource.replication.version_history import VersionHistory, number_in_force

MARK_AGAIN_SECONDS = 10.0
"""After how long a marker that has not come back is written again: its writer may have been killed before it wrote it."""


class ClientAccess:
    """Of one connection."""

    def __init__(
        self, identity: Identity, app_id: str, publications: Sequence[str], entitlements: Entitlements
    ) -> None:
        self.key = ClientInApp(identity.client_id, app_id)
        self.entitlements = entitlements
        self._attributes = dict(identity.attributes)
        self._publications = tuple(publications)
        self._marked_at: dict[str, float] = {}
        self.coming: tuple[CompiledVersion, ...] = ()
        """Published versions whose markers the stream has not come to, as far as is known."""

    @property
    def scope(self) -> str:
        """What the rows depend on beside the stored access, as a digest: what the token says of the client, and the
        publications. Empty for neither."""
        if not self._attributes and not self._publications:
            return ""
        said = json.dumps([self._attributes, sorted(set(self._publications))], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()

    def note(self, entitlements: Entitlements) -> None:
        """Takes what the client may have now; what was read of it earlier than what is known changes nothing."""
        if entitlements.progress >= self.entitlements.progress:
            self.entitlements = entitlements

    @property
    def is_in_force(self) -> bool:
        """Whether what the grant says is in force, or was when somebody met its marker."""
        newest = self._newest
        return newest is not None and newest.cluster_time is not None and newest.access == self.entitlements.wanted

    async def apply_grant(self, database: Database) -> None:
        """Sees to it that what the grant says comes into force: stores it, and writes the marker of what waits for one.

        Cheap when there is nothing to do. Raises `SourceUnreachable`, `SourceUnusable`, `django.db.Error`.
        """
        newest = self._newest
        if newest is None or (newest.cluster_time is not None and newest.access != self.entitlements.wanted):
            await client_store.begin_access(self.key)
            await self._read_versions()
            newest = self._newest
        if newest is None or newest.cluster_time is not None:
            return
        if time.monotonic() - self._marked_at.get(newest.nonce, -MARK_AGAIN_SECONDS) < MARK_AGAIN_SECONDS:
            return
        self._marked_at = {newest.nonce: time.monotonic()}
        try:
            await write_access_marker(database, self.key.app_id, AccessMarker(self.key.client_id, newest.nonce))
        except SourceReadOnly:
            await client_store.begin_access(self.key, without_marker=True)
            await self._read_versions()

    def view_at(self, version: CompiledVersion, position: Position) -> ClientView:
        """What is shown of `version` at a position that has been given out. Raises `UnknownVersion`."""
        return self._view(version, self._stored(self.number_at(position)))

    async def view_after(self, entry: Entry, view: ClientView) -> ClientView | None:
        """What is shown from `entry` on instead of `view`, if what this client may read changes there, else None."""
        cutover = entry.access_cutover
        if cutover is None or cutover.client_id != self.key.client_id:
            return None
        if not self._has_met(cutover.nonce):
            await client_store.confirm_access(cutover.nonce, cutover.cluster_time)
            await self._read_versions()
        number = self.number_at(entry.position)
        return self._view(view.version, self._stored(number)) if number > view.access_number else None

    def _has_met(self, nonce: str) -> bool:
        """Whether its place is known already: anybody who may write to the source can repeat a marker that they see there."""
        return any(stored.nonce == nonce and stored.cluster_time is not None for stored in self.entitlements.versions)

    def with_version(self, version: CompiledVersion, view: ClientView) -> ClientView:
        """What is shown of another version than that of `view`, under the same access."""
        return self._view(version, self._stored(view.access_number))

    def withheld(self, view: ClientView) -> Withheld:
        """What goes, or is loaded again, when the markers of what is stored have come, in whichever order they come.

        The more is known, the more it is. What a session withholds is so always known again as withheld, also by the session
        after it, when a table that stays is to be loaded again.
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

    def number_at(self, position: Position) -> int:
        """Of the access in force at a position. Raises `UnknownVersion`."""
        return number_in_force(self.entitlements.versions, position)

    @property
    def _newest(self) -> StoredAccess | None:
        return self.entitlements.versions[-1] if self.entitlements.versions else None

    async def _read_versions(self) -> None:
        self.note(replace(self.entitlements, versions=await client_store.access_versions(self.key)))

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
    """At which entries a connection's view changes: at publishes, and at changes of what its client may read."""

    def __init__(self, history: VersionHistory, access: ClientAccess) -> None:
        self.history = history
        self.access = access

    async def view_at(self, position: Position) -> ClientView:
        """At a position that has been given out. Raises `UnknownVersion`, `django.db.Error`."""
        return self.access.view_at(await self.history.at(position), position)

    async def look_ahead(self, view: ClientView) -> None:
        """Takes the versions that have been published after that of `view`. Raises `django.db.Error`."""
        self.access.coming = await self.history.after(view.version.number)

    async def after(self, entry: Entry, view: ClientView) -> ClientView | None:
        """The view from `entry` on, if another one than `view` begins there. Asking again changes nothing."""
        if entry.is_publish:
            if entry.version <= view.version.number:
                return None
            return self.access.with_version(await self.history.at(entry.position), view)
        return await self.access.view_after(entry, view) if entry.access_cutover is not None else None
