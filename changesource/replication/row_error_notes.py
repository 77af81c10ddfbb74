"""Row errors of one app, from where they are found to the Django DB: those that are new, and those that are over."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from changesource.tables.row_errors import RowError

MAX_PENDING = 10_000


class RowErrorNotes:
    """A sink of row errors that also hears of documents that have none any more. What is pending is stored by its owner.

    `open_documents` are those with a row error, by table: nothing is to be done for any other document.
    """

    def __init__(self) -> None:
        self.open_documents: defaultdict[str, set[str]] = defaultdict(set)
        self._found: list[RowError] = []
        self._over: dict[tuple[str, str], None] = {}

    def __call__(self, errors: Sequence[RowError]) -> None:
        self.add(errors)

    def add(self, errors: Sequence[RowError]) -> None:
        """They are stored within a second or so, the newest ones if there are very many."""
        for error in errors:
            self.open_documents[error.table].add(error.document_id)
        self._found += errors
        del self._found[:-MAX_PENDING]

    def end(self, table: str, document_ids: Iterable[str]) -> None:
        """These documents (by their descriptions) have no row errors in the table any more."""
        ended = self.open_documents[table].intersection(document_ids)
        if not ended:
            return
        self.open_documents[table] -= ended
        self._found = [error for error in self._found if error.table != table or error.document_id not in ended]
        self._over.update({(table, document_id): None for document_id in ended})

    def take(self) -> tuple[list[tuple[str, str]], list[RowError]]:
        """What is pending: (table, document id) whose errors are over, and then the errors that were found after that."""
        over, found = list(self._over), self._found
        self._over, self._found = {}, []
        return over, found

    def know(self, stored: Mapping[str, Iterable[str]]) -> None:
        """What the Django DB has, by table; what is pending here is newer."""
        known: defaultdict[str, set[str]] = defaultdict(set)
        for table, document_ids in stored.items():
            known[table] |= {each for each in document_ids if (table, each) not in self._over}
        for error in self._found:
            known[error.table].add(error.document_id)
        self.open_documents = known
