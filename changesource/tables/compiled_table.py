"""Documents → rows, compiled once for each table of a published version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from bson import Binary, Code, DBRef, Regex

from changesource.errors import MappingRefused
from changesource.mql import (
    WHOLE_DOCUMENT,
    Budget,
    BudgetExceeded,
    CompiledPipeline,
    MqlError,
    compile_pipeline,
    read_mapping_text,
)
from changesource.protocol.frames import ColumnSpec, TableSpec
from changesource.tables.definition import MAX_KEY_BYTES, Column, ColumnType, Table
from changesource.tables.document_ids import WITH_SEVERAL_FORMS, normal_id
from changesource.tables.row_errors import RowError
from changesource.tables.values import CONVERTERS, MAX_SAFE_INTEGER, Converter, DoesNotFit, JsonScalar, convert

Document = Mapping[str, Any]
Row = dict[str, JsonScalar]
Key = tuple[JsonScalar, ...]

ID = "_id"

PG_TYPES: Mapping[ColumnType, str] = {"string": "text", "number": "float8", "boolean": "bool", "json": "json"}
"""The type that a column is declared with. It is `text`, not `uuid` or the like, whose affinity in SQLite turns digits into
numbers, and `float8`, because a field may hold 1 in one document and 1.5 in the next."""

MAX_DOCUMENT_ID_LENGTH = 200
MAX_ROW_BYTES = 32 * 2**20
"""The limit of a row as JSON: twice what a document can have. zero-cache closes the connection at a message over 100 MiB, and
would return to it forever. Each of our own processes holds several copies of a row while it passes through."""
MAX_BYTES_OF_CHARACTER = 6
"""The longest form of a character in JSON: `\\u0001`."""
ROOM_FOR_NAMES = 2**20
"""Room for the names and the values other than text of all columns that a table can have."""

TOO_DEEP = "The mapping nests values too deep. Let it nest them less."

MAX_BYTES_IN_UTF8 = 4
"""The longest form of a character."""
KEY_COLUMN_BYTES = 8
"""What jsonb in PostgreSQL needs for a name and its value, besides the bytes of both."""
KEY_NUMBER_BYTES = 24
"""More than a number or a boolean needs there."""
KEY_TOO_LONG = (
    f"the primary key is longer than {MAX_KEY_BYTES} bytes, which zero-cache cannot keep; "
    "let the mapping make a shorter key"
)

STEPS_OF_ROW = 4
STEPS_OF_VALUE = 2
VALUE_BYTES = 32
FREE_TEXT_OF_ROWS = 256
"""In a row that is one of several, a text of up to this many characters costs the same as any other value."""


class _CompiledColumn(NamedTuple):
    name: str
    field: str
    converters: Mapping[type, Converter]
    type: ColumnType
    is_required: bool


class CompiledTable:
    """One table: what each document of its collection becomes.

    `reads` are the top-level fields of a document on which its rows depend, and `decided_by` those that decide whether it has
    any; both may hold `WHOLE_DOCUMENT`. `needs_pre_images` says that the `_id` of a document does not tell which rows it has
    had, or which clients have seen them, so that the former document is needed. `filter_columns` are server names.

    Raises `MappingRefused` for a mapping that cannot be compiled.
    """

    def __init__(self, table: Table) -> None:
        columns = {column.name: column for column in table.columns}
        key_columns = [columns[name] for name in table.primary_key]
        self.name = table.server_name
        self.collection = table.collection
        self.spec = TableSpec(
            name=table.server_name,
            columns=tuple(
                ColumnSpec(column.server_name, PG_TYPES[column.type], not column.optional) for column in table.columns
            ),
            key=tuple(column.server_name for column in key_columns),
            indexes=tuple(map(table.server_names, table.indexes)),
        )
        self._columns = _compile_columns(table.columns)
        self._key_columns = _compile_columns(key_columns)

        mapping = _compile(table.mapping)
        needed, self.reads = mapping.needed_for(frozenset(column.field for column in table.columns))
        # Several columns of the same field would make several texts of one value.
        repeats_fields = len({column.field for column in table.columns}) < len(columns)
        self._map: CompiledPipeline | None = needed if table.mapping or repeats_fields else None
        self.decided_by = mapping.decides_by()
        self._key_map, read_by_key = mapping.without_filters(frozenset(column.field for column in key_columns))
        self._splits = mapping.splits
        self.filter_columns = table.server_names(table.filter_columns)
        self.needs_pre_images = self._splits or not read_by_key <= {ID} or bool(self.filter_columns)
        self.has_mapping = bool(table.mapping)
        self._ids_with_forms = frozenset[type]() if self.needs_pre_images else WITH_SEVERAL_FORMS
        # Each of several documents would hold fields that none needs; and fields that a table does not read must not count.
        self._read_names = self.reads if self._splits and WHOLE_DOCUMENT not in self.reads else None
        # A row is too large only with a longer text. Each of several rows can repeat a text of the document.
        longest = MAX_ROW_BYTES // (MAX_BYTES_OF_CHARACTER * max(1, len(columns)))
        self._long_text = min(longest, FREE_TEXT_OF_ROWS) if self._splits else longest
        self._measures = needed.repeats_values
        self._text_keys = tuple(column.server_name for column in key_columns if column.type == "string")
        others = len(key_columns) - len(self._text_keys)
        self._key_room = MAX_KEY_BYTES - sum(len(column.server_name) + KEY_COLUMN_BYTES for column in key_columns)
        self._key_room -= others * KEY_NUMBER_BYTES
        self._short_key_text = self._key_room // (MAX_BYTES_IN_UTF8 * max(1, len(self._text_keys)))
        self._steps = STEPS_OF_ROW + len(columns) * STEPS_OF_VALUE
        self._row_bytes = len(columns) * VALUE_BYTES

    def rows(self, document: Document, errors: list[RowError], budget: Budget | None = None) -> list[Row]:
        """The rows that `document` gives, in the order of the mapping; none if the mapping keeps nothing of the document.

        A value that does not fit becomes null if the column is optional; if it is required, the row is left out. A row is
        also left out if the mapping cannot be computed, if an earlier row has its key, and if it or its key is too large.
        Each case is appended to `errors`. A document that costs more than a document may has no rows, and one error says so.

        With a `budget` of the caller, a document that costs more than that raises `BudgetExceeded`, and nothing is appended.
        """
        if self._map is None:
            return self._row_of_document(document, errors, budget)
        found: list[RowError] = []
        try:
            rows = self._rows(self._map, document, found, budget or Budget())
        except (BudgetExceeded, RecursionError) as error:
            exceeded = error if isinstance(error, BudgetExceeded) else BudgetExceeded(TOO_DEEP)
            if budget is not None:
                raise exceeded from error
            rows, found = [], [RowError(self.name, describe_id(document.get(ID)), "", exceeded.reason)]
        if found:
            errors += found
        return rows

    def _row_of_document(self, document: Document, errors: list[RowError], budget: Budget | None) -> list[Row]:
        """The row of a table without a mapping, which is no larger than its document and costs no other work."""
        errors_before = len(errors)
        try:
            row = self._row(document, document, errors, budget)
        except BudgetExceeded:
            del errors[errors_before:]
            raise
        return [] if row is None else [row]

    def _rows(self, mapping: CompiledPipeline, document: Document, errors: list[RowError], budget: Budget) -> list[Row]:
        """The rows of a table with a mapping. `errors` holds only those of this document."""
        mapped_documents = self._mapped(mapping, document, errors, budget)
        if not self._splits:
            row = self._row(mapped_documents[0], document, errors, budget) if mapped_documents else None
            return [] if row is None else [row]
        budget.spend_steps(len(mapped_documents) * self._steps)
        budget.spend_bytes(len(mapped_documents) * self._row_bytes)
        rows = []
        for index, mapped in enumerate(mapped_documents):
            row = self._row(mapped, document, errors, budget)
            mapped_documents[index] = _NOTHING  # so that it is not in memory together with all rows
            if row is not None:
                rows.append(row)
        return self._without_repeated_keys(rows, document, errors, budget) if len(rows) > 1 else rows

    def key(self, document_id: object) -> Row | None:
        """The primary key of the row of a document with this `_id`, whether or not it has that row; None if it can have no
        row. Not for a table that needs pre-images."""
        try:
            key = self._key_of_normal_id(normal_id(document_id))
        except (DoesNotFit, MqlError):
            return None
        return None if self._is_key_too_long(key) else key

    def _key_of_normal_id(self, document_id: object) -> Row:
        """The key for an `_id` in its normal form. An event that replaces the `_id` by another form does not say which form
        there was. Raises `DoesNotFit` and `MqlError`."""
        (mapped,) = self._key_map({ID: document_id})
        return {column.name: _key_value(column, mapped.get(column.field)) for column in self._key_columns}

    def key_of(self, row: Row) -> Key:
        """The values of the primary key in a row."""
        return tuple([row[name] for name in self.spec.key])

    def filter_values(self, row: Row) -> list[JsonScalar]:
        """The values of the filter columns in a row."""
        return [row[name] for name in self.filter_columns]

    def is_untouched_by(self, changed: frozenset[str] | None) -> bool:
        """Whether a change to the top-level fields `changed` (None for any) leaves the rows of a document unchanged."""
        return changed is not None and WHOLE_DOCUMENT not in self.reads and changed.isdisjoint(self.reads)

    def is_decided_without(self, changed: frozenset[str] | None) -> bool:
        """Whether a document has rows after a change to the top-level fields `changed` (None for any) if and only if it had
        some before."""
        return changed is not None and WHOLE_DOCUMENT not in self.decided_by and changed.isdisjoint(self.decided_by)

    def _mapped(
        self, mapping: CompiledPipeline, document: Document, errors: list[RowError], budget: Budget
    ) -> list[Any]:
        source: Document = document
        if self._read_names is not None:
            source = {name: value for name, value in document.items() if name in self._read_names}
        steps, rows, size = budget.steps, budget.rows, budget.bytes
        try:
            return mapping(source, budget)
        except BudgetExceeded:
            raise
        except MqlError:
            # Once more, for the documents without an error. The first attempt costs nothing.
            budget.steps, budget.rows, budget.bytes = steps, rows, size
            mapped, mapping_errors = mapping.run_leniently(source, budget)
            for error in mapping_errors:
                self._add_error(errors, document, "", error.reason, budget)
            return mapped

    def _row(self, mapped: Document, document: Document, errors: list[RowError], budget: Budget | None) -> Row | None:
        row: Row = {}
        get = mapped.get
        for name, field, converters, column_type, is_required in self._columns:
            value = get(field)
            converter = converters.get(type(value))
            try:
                converted = (
                    converter(value) if converter is not None else self._convert_paying(column_type, value, budget)
                )
            except DoesNotFit as misfit:
                self._add_error(errors, document, name, str(misfit), budget)
                converted = None
                if is_required:
                    return None
            else:
                if converted is None and is_required:
                    self._add_error(errors, document, name, _why_null(value), budget)
                    return None
            row[name] = converted
        document_id = document.get(ID)
        if type(document_id) in self._ids_with_forms and (normal := self._normal_id(document_id)) is not document_id:
            try:
                row.update(self._key_of_normal_id(normal))
            except (DoesNotFit, MqlError) as error:
                self._add_error(errors, document, ", ".join(self.spec.key), str(error), budget)
                return None
        for name in self._text_keys:
            if len(row[name]) > self._short_key_text and self._is_key_too_long(row):  # type: ignore[arg-type]
                self._add_error(errors, document, ", ".join(self.spec.key), KEY_TOO_LONG, budget)
                return None
        for value in row.values():
            if type(value) is str and len(value) > self._long_text:
                return self._row_if_it_passes(row, document, errors, budget)
        return row

    def _normal_id(self, document_id: Any) -> Any:
        """Like `normal_id`, but unchanged if a column would show both forms alike."""
        is_alike = type(document_id) is float and not self.has_mapping and abs(document_id) <= MAX_SAFE_INTEGER
        return document_id if is_alike else normal_id(document_id)

    def _is_key_too_long(self, row: Row) -> bool:
        texts = [row[name] for name in self._text_keys]
        return sum(len(text.encode()) for text in texts if isinstance(text, str)) > self._key_room

    def _convert_paying(self, column_type: ColumnType, value: object, budget: Budget | None) -> JsonScalar:
        """Converts a value and pays for the text that it may become."""
        if budget is not None and self._measures and isinstance(value, list | dict):
            _check_size(value, budget)
        converted = convert(column_type, value)
        if budget is not None and type(converted) is str:
            budget.write_text(len(converted))
        return converted

    def _row_if_it_passes(
        self, row: Row, document: Document, errors: list[RowError], budget: Budget | None
    ) -> Row | None:
        length = sum(len(value) for value in row.values() if type(value) is str)
        if budget is not None:
            budget.spend_bytes(length)
        if (
            length <= MAX_ROW_BYTES // MAX_BYTES_OF_CHARACTER - ROOM_FOR_NAMES
            or len(orjson.dumps(row)) <= MAX_ROW_BYTES
        ):
            return row
        reason = (
            f"the row is larger than {MAX_ROW_BYTES // 2**20} MiB as JSON; "
            "leave columns out, or shorten them in the mapping"
        )
        self._add_error(errors, document, "", reason, budget)
        return None

    def _without_repeated_keys(
        self, rows: list[Row], document: Document, errors: list[RowError], budget: Budget
    ) -> list[Row]:
        first: dict[Key, Row] = {}
        for row in rows:
            if first.setdefault(self.key_of(row), row) is not row:
                reason = "two rows of the document have the same primary key; make the key depend on the array's index"
                self._add_error(errors, document, ", ".join(self.spec.key), reason, budget)
        return list(first.values()) if len(first) < len(rows) else rows

    def _add_error(
        self, errors: list[RowError], document: Document, column: str, reason: str, budget: Budget | None
    ) -> None:
        if budget is not None:
            budget.spend_error()
        # Describing a large _id takes long, and a mapping can give an error for each element of an array.
        document_id = errors[0].document_id if errors and self._splits else describe_id(document.get(ID))
        errors.append(RowError(self.name, document_id, column, reason))


def _check_size(value: object, budget: Budget) -> None:
    """Raises `DoesNotFit` for a value that is too large as text. A computed value can be far larger there than in memory."""
    try:
        size = budget.size_of(value, MAX_ROW_BYTES)
    except BudgetExceeded:
        raise
    except MqlError as error:
        raise DoesNotFit(error.message) from error
    if size > MAX_ROW_BYTES:
        raise DoesNotFit(f"the value is larger than {MAX_ROW_BYTES >> 20} MiB; shorten it in the mapping")


_NOTHING: Document = {}


def _compile(mapping: str) -> CompiledPipeline:
    try:
        return compile_pipeline(read_mapping_text(mapping))
    except MqlError as error:
        raise MappingRefused(error.reason) from error


def _compile_columns(columns: Sequence[Column]) -> tuple[_CompiledColumn, ...]:
    return tuple(
        _CompiledColumn(
            column.server_name, column.field, _CONVERTERS_OF_SCALARS[column.type], column.type, not column.optional
        )
        for column in columns
    )


_OF_ANY_SIZE = frozenset({dict, list, DBRef, Binary, bytes, Regex, Code})
_CONVERTERS_OF_SCALARS: Mapping[ColumnType, Mapping[type, Converter]] = {
    column_type: {
        kind: converter
        for kind, converter in converters.items()
        if kind not in _OF_ANY_SIZE and not (kind is str and column_type == "json")
    }
    for column_type, converters in CONVERTERS.items()
}
"""Values of the other types are left to `_convert_paying`."""


def _key_value(column: _CompiledColumn, value: object) -> JsonScalar:
    converted = convert(column.type, value)
    if converted is None:
        raise DoesNotFit("a key is never null")
    return converted


def describe_id(document_id: object) -> str:
    """The text that identifies a document to people. It is the same for all forms of its `_id`."""
    try:
        text = convert("string", normal_id(document_id))
    except DoesNotFit:
        text = repr(document_id)
    return str(text)[:MAX_DOCUMENT_ID_LENGTH]


def _why_null(value: object) -> str:
    if value is None:
        return "the field is missing or null and the column is required; make the column optional"
    return "the value has no JSON (NaN or infinite) and the column is required; make the column optional"
