"""Published versions to read with."""

from changesource.mapping.definition import AppDefinition, Column, Table
from changesource.publishing.compiled import CompiledVersion
from tests.streaming.workload import COLLECTIONS

APP_ID = "shop"


def table(name: str, *columns: Column, collection: str = "", id_type: str = "string") -> Table:
    """A table with `_id` and these columns; by default one of any type, `value`, which may be missing."""
    return Table(
        name=name,
        columns=(
            Column("_id", id_type),  # type: ignore[arg-type]
            *(columns or (Column("value", "json", optional=True),)),
        ),
        primary_key=("_id",),
        collection=collection,
    )


def version(*tables: Table) -> CompiledVersion:
    return CompiledVersion(AppDefinition(APP_ID, "default", tables), 1)


BUSY = version(*(table(name) for name in COLLECTIONS))
"""Of the collections that a `Workload` writes."""
