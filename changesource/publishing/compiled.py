"""A published version, compiled: what a reader watches, and what each collection's documents
become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from changesource.protocol.frames import TableFrames
from changesource.publishing.permissions import permissions_row_of
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import AppDefinition


class CompiledTableFrames:
    """A table's rows and the frames that carry them."""

    __slots__ = ("frames", "table")

    def __init__(self, table: CompiledTable) -> None:
        self.table = table
        self.frames = TableFrames(table.spec)


def fields_read(tables: Iterable[CompiledTableFrames]) -> frozenset[str]:
    """The top-level fields of a document on which its rows in `tables` depend; see
    `CompiledTable.reads`."""
    return frozenset().union(*(table.table.reads for table in tables))


class CompiledVersion:
    """Everything that is computed once for a published version.

    `collections_with_pre_images` are the collections with a table that cannot be kept right without
    pre-images.
    """

    def __init__(self, definition: AppDefinition, number: int) -> None:
        self.definition = definition
        self.app_id = definition.app_id
        self.source = definition.source
        self.number = number
        self.tables: tuple[CompiledTableFrames, ...] = tuple(
            CompiledTableFrames(CompiledTable(table)) for table in definition.tables
        )
        self.tables_of_collection: Mapping[str, tuple[CompiledTableFrames, ...]] = {
            collection: tuple(table for table in self.tables if table.table.collection == collection)
            for collection in dict.fromkeys(table.table.collection for table in self.tables)
        }
        self.collections_with_pre_images = tuple(
            collection
            for collection, tables in self.tables_of_collection.items()
            if any(table.table.needs_pre_images for table in tables)
        )
        self.permissions = permissions_row_of(definition)
        self.has_mappings = any(table.table.has_mapping for table in self.tables)

    @property
    def name(self) -> str:
        """What log messages call it."""
        return f"{self.app_id}.v{self.number}"
