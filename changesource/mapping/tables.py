"""Documents → rows, compiled once for each table of a published version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changesource.mapping.definition import ColumnType, Table
from changesource.mapping.row_errors import RowError
from changesource.mapping.values import CONVERTERS, Converter, DoesNotFit, JsonScalar, convert
from changesource.protocol.frames import ColumnSpec, TableSpec

Document = Mapping[str, Any]
Row = dict[str, JsonScalar]

PG_TYPES: Mapping[ColumnType, str] = {"string": "text", "number": "float8", "boolean": "bool", "json": "json"}
"""What a column is declared as. `text`, not `uuid` or the like, whose SQLite affinity turns digits into numbers;
`float8` because a MongoDB field may hold 1 in one document and 1.5 in the next."""

MAX_DOCUMENT_ID_LENGTH = 200


class CompiledTable:
    """One table: what each document of its collection becomes."""

    def __init__(self, table: Table) -> None:
        columns = {column.name: column for column in table.columns}
        self.name = table.server_name
        self.collection = table.collection
        self.spec = TableSpec(
            name=table.server_name,
            columns=tuple(
                ColumnSpec(column.server_name, PG_TYPES[column.type], not column.optional) for column in table.columns
            ),
            key=tuple(columns[name].server_name for name in table.primary_key),
        )
        self._columns: tuple[tuple[str, str, Mapping[type, Converter], ColumnType, bool], ...] = tuple(
            (column.server_name, column.field, CONVERTERS[column.type], column.type, not column.optional)
            for column in table.columns
        )
        (self._key_column,) = (columns[name] for name in table.primary_key)

    def rows(self, document: Document, errors: list[RowError]) -> list[Row]:
        """The rows that `document` gives: one, or none when it cannot be built.

        A value that does not fit becomes null where the column is optional; where it is required, the row is left out.
        Each is appended to `errors`.
        """
        row: Row = {}
        get = document.get
        for name, field, converters, column_type, is_required in self._columns:
            value = get(field)
            converter = converters.get(type(value))
            try:
                converted = converter(value) if converter is not None else convert(column_type, value)
            except DoesNotFit as misfit:
                errors.append(self._error(document, name, str(misfit)))
                converted = None
                if is_required:
                    return []
            else:
                if converted is None and is_required:
                    errors.append(self._error(document, name, _why_null(value)))
                    return []
            row[name] = converted
        return [row]

    def key(self, document_id: object) -> Row | None:
        """The primary key of the row that a document with this `_id` has; None when it can have no row."""
        try:
            value = convert(self._key_column.type, document_id)
        except DoesNotFit:
            return None
        return None if value is None else {self._key_column.server_name: value}

    def _error(self, document: Document, column: str, reason: str) -> RowError:
        return RowError(self.name, describe_id(document.get("_id")), column, reason)


def describe_id(document_id: object) -> str:
    """The text by which people find the document."""
    try:
        text = convert("string", document_id)
    except DoesNotFit:
        text = None
    return str(text)[:MAX_DOCUMENT_ID_LENGTH]


def _why_null(value: object) -> str:
    if value is None:
        return "the field is missing or null and the column is required; make the column optional"
    return "the value has no JSON (NaN or infinite) and the column is required; make the column optional"
