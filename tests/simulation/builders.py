"""Published versions and histories for readers, without a Django database."""

from collections.abc import Mapping

from changesource.log.entries import Entry
from changesource.mongo.markers import AccessMarker, PublishMarker
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import Access, ClientView
from changesource.publishing.compiled import CompiledVersion
from changesource.replication.version_history import VersionHistory
from changesource.sessions.client_access import ViewHistory
from changesource.tables.definition import AppDefinition, Column, Table
from tests.simulation.workload import COLLECTIONS

APP_ID = "shop"


def table(name: str, *columns: Column, collection: str = "", id_type: str = "string") -> Table:
    """Returns a table with `_id` and these columns; by default one optional column `value` of any
    type."""
    return Table(
        name=name,
        columns=(
            Column("_id", id_type),  # type: ignore[arg-type]
            *(columns or (Column("value", "json", optional=True),)),
        ),
        primary_key=("_id",),
        collection=collection,
    )


def version(*tables: Table, number: int = 1) -> CompiledVersion:
    return CompiledVersion(AppDefinition(APP_ID, "default", tables), number)


class KnownVersions(VersionHistory):
    """A history without a Django database: `first`, and the versions of the markers that are to
    come."""

    def __init__(
        self, first: CompiledVersion, following: Mapping[PublishMarker, CompiledVersion] | None = None
    ) -> None:
        super().__init__(APP_ID)
        self._first = first
        self._following = dict(following or {})

    async def at(self, position: Position) -> CompiledVersion:
        return self._first

    async def published_by(
        self, marker: PublishMarker, cluster_time: int, received_at: float
    ) -> CompiledVersion | None:
        return self._following.get(marker)

    async def begins_access(self, marker: AccessMarker, cluster_time: int, received_at: float) -> bool:
        return True


BUSY = version(*(table(name) for name in COLLECTIONS))
"""A version with the collections that a `Workload` writes."""

BUSY_HISTORY = KnownVersions(BUSY)


class WholeViews(ViewHistory):
    """The views of a client that may always read everything."""

    def __init__(self, history: VersionHistory) -> None:
        self.history = history

    async def after(self, entry: Entry, view: ClientView) -> ClientView | None:
        is_next = entry.is_publish and entry.version > view.version.number
        return whole_view(await self.history.at(entry.position)) if is_next else None


def whole_view(version: CompiledVersion) -> ClientView:
    """Returns what a client sees that may read everything."""
    return ClientView(version, Access())
