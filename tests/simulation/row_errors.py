"""A row error sink for tests."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import ClassVar

from changesource.tables.row_errors import RowError


class FoundErrors(list[RowError]):
    """A `RowErrorSink` that keeps the row errors that it is given, and ends none."""

    open_documents: ClassVar[Mapping[str, Set[str]]] = {}

    def add(self, errors: Sequence[RowError]) -> None:
        self.extend(errors)

    def end(self, table: str, document_ids: Iterable[str]) -> None:
        return None
