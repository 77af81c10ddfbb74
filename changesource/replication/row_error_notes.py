"""The row errors of one app, between the renderer and the Django database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Protocol

from changesource.tables.row_errors import RowError

MAX_PENDING = 10_000


class RowErrorSink(Protocol):
    """Where everything that makes rows of one app reports its row errors."""

    @property
    def open_documents(self) -> Mapping[str, Set[str]]:
        """Table → the documents (by their descriptions) whose row errors this sink would end."""

    def add(self, errors: Sequence[RowError]) -> None:
        """Takes row errors that have been found."""

    def end(self, table: str, document_ids: Iterable[str]) -> None:
        """Learns that these documents (by their descriptions) have no row errors in `table` now."""


class RowErrorNotes:
    """The watcher's sink: it keeps row errors, and their ends, until its owner stores them."""

    def __init__(self) -> None:
        self.open_documents: defaultdict[str, set[str]] = defaultdict(set)
        self._found: list[RowError] = []
        self._over: dict[tuple[str, str], None] = {}

    def add(self, errors: Sequence[RowError]) -> None:
        """Keeps the errors until `take`; of more than `MAX_PENDING`, the newest."""
        for error in errors:
            self.open_documents[error.table].add(error.document_id)
        self._found += errors
        del self._found[:-MAX_PENDING]

    def end(self, table: str, document_ids: Iterable[str]) -> None:
        """Notes that these documents have no row errors in `table` now, and drops pending ones."""
        ended = self.open_documents[table].intersection(document_ids)
        if not ended:
            return
        self.open_documents[table] -= ended
        self._found = [error for error in self._found if error.table != table or error.document_id not in ended]
        self._over.update({(table, document_id): None for document_id in ended})

    def take(self) -> tuple[list[tuple[str, str]], list[RowError]]:
        """Returns and forgets what is pending: the (table, document id) whose errors are over, and
        the errors found since."""
        over, found = list(self._over), self._found
        self._over, self._found = {}, []
        return over, found

    def know(self, stored: Mapping[str, Iterable[str]]) -> None:
        """Takes over what the Django database has, by table. What is pending here is newer."""
        known: defaultdict[str, set[str]] = defaultdict(set)
        for table, document_ids in stored.items():
            known[table] |= {each for each in document_ids if (table, each) not in self._over}
        for error in self._found:
            known[error.table].add(error.document_id)
        self.open_documents = known


class SessionRowErrors:
    """A session's sink: it passes row errors on to the app's notes and ends none. A session may be
    behind the watcher, and would end errors that the watcher found later in the stream."""

    open_documents: Mapping[str, Set[str]] = {}

    def __init__(self, notes: RowErrorNotes) -> None:
        self._notes = notes

    def add(self, errors: Sequence[RowError]) -> None:
        self._notes.add(errors)

    def end(self, table: str, document_ids: Iterable[str]) -> None:
        return None
