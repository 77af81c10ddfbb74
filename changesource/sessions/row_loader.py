"""Collections → rows → frames: what a transaction has to send besides changes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from contextlib import aclosing

from changesource.mongo.documents import Documents, scan
from changesource.publishing.client_view import ClientView
from changesource.publishing.compiled import CompiledTableFrames, fields_read
from changesource.publishing.version_changes import ExtendedTable
from changesource.replication.slow_documents import rows_in_batches
from changesource.sessions.stream_context import StreamContext
from changesource.sessions.transactions import TransactionSender
from changesource.tables.compiled_table import ID, Document, describe_id
from changesource.tables.row_errors import RowError
from changesource.tasks import LoopShare


class RowLoader:
    """Scans collections and adds the rows that their documents give to the transaction that
    `sender` has begun.

    Every method raises `ClientStalled`, `SnapshotTooSlow`, and what `scan` raises.
    """

    def __init__(self, context: StreamContext, sender: TransactionSender) -> None:
        self._context = context
        self._sender = sender
        self._share = LoopShare()

    async def load(self, collection: str, tables: Sequence[CompiledTableFrames]) -> None:
        """Adds all rows of `tables`, which read `collection`."""
        async with aclosing(self._scan(collection, fields_read(tables))) as batches:
            async for documents in batches:
                for table in tables:
                    await self._add_rows(table, documents)

    async def extend(self, collection: str, tables: Sequence[ExtendedTable], old: ClientView) -> None:
        """Adds the rows of `tables` that have a value in a new column, and removes those that a
        document no longer gives: a new column cannot be computed, or makes the row too large. The
        replica has what `old` shows."""
        fields = fields_read([version for table in tables for version in (table.earlier, table.table)])
        async with aclosing(self._scan(collection, fields, _fields_of_new_columns(tables))) as batches:
            async for documents in batches:
                for table in tables:
                    await self._add_extended_rows(table, documents, old)

    def _scan(
        self, collection: str, fields: Collection[str], with_one_of: Collection[str] = ()
    ) -> AsyncGenerator[Documents, None]:
        return scan(self._context.database, collection, fields, with_one_of=with_one_of)

    async def _add_rows(self, table: CompiledTableFrames, documents: Documents) -> None:
        errors: list[RowError] = []
        async for rows in rows_in_batches(table.table, documents, errors, self._share):
            await self._sender.add_rows(table, rows)
        self._report(errors)

    async def _add_extended_rows(self, extended: ExtendedTable, documents: Documents, old: ClientView) -> None:
        errors: list[RowError] = []
        async for rows in rows_in_batches(extended.table.table, documents, errors, self._share):
            with_value = (row for row in rows if any(row[name] is not None for name in extended.columns))
            await self._sender.add_rows(extended.table, with_value)
        self._report(errors)
        if errors:
            await self._sender.add(_removals(extended, documents, errors, old))

    def _report(self, errors: Sequence[RowError]) -> None:
        if errors:
            self._context.row_errors.add(errors)


def _removals(
    extended: ExtendedTable, documents: Sequence[Document], errors: Sequence[RowError], old: ClientView
) -> Iterator[bytes]:
    """Frames that remove the rows of documents that have lost them because of a new column."""
    without_rows = {error.document_id for error in errors if not error.column}
    if not without_rows:
        return
    earlier = extended.earlier
    for document in documents:
        if describe_id(document.get(ID)) in without_rows:
            for row in old.rows(earlier, iter(earlier.table.rows(document, []))):
                yield earlier.frames.delete({name: row[name] for name in earlier.table.spec.key})


def _fields_of_new_columns(tables: Sequence[ExtendedTable]) -> frozenset[str]:
    """A document whose row has a value in a new column has at least one of these fields. Empty if
    any document may have such a row."""
    fields: set[str] = set()
    for table in tables:
        if table.fields is None:
            return frozenset()
        fields |= table.fields
    return frozenset(fields)
