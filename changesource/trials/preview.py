"""Previews: the rows of the first documents of a table's collection. Runs in the process of a
trial, without Django."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from bson import json_util

from changesource.errors import InvalidDefinition
from changesource.mongo.documents import first_documents
from changesource.mongo.source import Sources
from changesource.publishing.definition_problems import find_problems
from changesource.tables.compiled_table import CompiledTable, Document, Row
from changesource.tables.definition import AppDefinition, Table
from changesource.tables.row_errors import RowError

MAX_DOCUMENT_TEXT = 20_000
MAX_CELL_TEXT = 1_000
MAX_ROWS_TEXT = 50_000
"""How many characters of rows, and as many of row errors, a page shows of one document."""
MARKUP = 10
"""How much a cell takes besides its text: `<td></td>`."""


class DocumentPreview(NamedTuple):
    """A document, its rows as zero-cache would get them, and its row errors."""

    document: Document
    rows: list[Row]
    errors: list[RowError]


async def complete_previews(request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """`{"document", "rows", "errors"}` for each document. The document is in relaxed Extended JSON,
    and a json column holds its value rather than the text that zero-cache gets."""
    table = find_table(AppDefinition.from_json(request["definition"]), request["table"])
    async for preview in previews(request, table.name, request["limit"]):
        yield _complete(table, preview)


async def page_previews(request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """`{"text", "rows", "more_rows", "errors", "more_errors"}` for each document, with all texts
    cut to what a page can show. `rows` holds lists of cells, `errors` holds texts."""
    table = find_table(AppDefinition.from_json(request["definition"]), request["table"])
    async for preview in previews(request, table.name, request["limit"]):
        yield _of_page(table, preview)


async def previews(request: Mapping[str, Any], table_name: str, limit: int) -> AsyncGenerator[DocumentPreview, None]:
    """The previews of the first `limit` documents of a table of `request["definition"]`, in the
    order of `_id`.

    Raises `InvalidDefinition` if there is no such table, or if the draft has problems, with all of
    them; `UnknownSource`, `SourceUnreachable`, `SourceUnusable`.
    """
    draft = AppDefinition.from_json(request["definition"])
    table = _checked(draft, table_name)
    sources = Sources(request["sources"])
    try:
        async for preview in read_previews(sources, draft.source, table, limit):
            yield preview
    finally:
        await sources.close()


async def read_previews(
    sources: Sources, source: str, table: Table, limit: int
) -> AsyncGenerator[DocumentPreview, None]:
    """The same for a table of a definition without problems. Raises `UnknownSource`, `SourceUnreachable`,
    `SourceUnusable`."""
    compiled = CompiledTable(table)
    async for documents in first_documents(sources.database(source), compiled.collection, limit):
        for document in documents:
            errors: list[RowError] = []
            yield DocumentPreview(document, compiled.rows(document, errors), errors)


def find_table(draft: AppDefinition, name: str) -> Table:
    """The table with this name or, if there is none, the one with this server name. Raises
    `InvalidDefinition`."""
    tables = {table.server_name: table for table in draft.tables} | {table.name: table for table in draft.tables}
    if name in tables:
        return tables[name]
    names = ", ".join(table.name for table in draft.tables) or "none"
    raise InvalidDefinition(f"{draft.app_id} has no table {name!r}. There are {names}.")


def cut_text(text: str, length: int) -> str:
    """`text`, or its first `length` characters and the number of the others."""
    return text if len(text) <= length else f"{text[:length]}… ({len(text) - length:,} more characters)"


def _checked(draft: AppDefinition, table_name: str) -> Table:
    table = find_table(draft, table_name)
    if problems := find_problems(draft):
        raise InvalidDefinition("\n".join([f"{draft.app_id} cannot be published.", *map(str, problems)]))
    return table


def _complete(table: Table, preview: DocumentPreview) -> dict[str, Any]:
    json_columns = frozenset(column.server_name for column in table.columns if column.type == "json")
    return {
        "document": json.loads(_extended_json(preview.document)),
        "rows": [
            {name: _value(value) if name in json_columns else value for name, value in row.items()}
            for row in preview.rows
        ],
        "errors": [
            {
                "table": error.table,
                "documentId": error.document_id,
                "column": error.column,
                "reason": error.reason,
            }
            for error in preview.errors
        ],
    }


def _of_page(table: Table, preview: DocumentPreview) -> dict[str, Any]:
    rows = list(_within_page(map(_cut_cells, preview.rows)))
    errors = list(_within_page([_error_text(error)] for error in preview.errors))
    return {
        "text": cut_text(_extended_json(preview.document, indent=2), MAX_DOCUMENT_TEXT),
        "rows": rows,
        "more_rows": len(preview.rows) - len(rows),
        "errors": [text for (text,) in errors],
        "more_errors": len(preview.errors) - len(errors),
    }


def _within_page(rows: Iterable[list[str]]) -> Iterator[list[str]]:
    """As many of the first rows as a page shows of one document."""
    length = 0
    for row in rows:
        length += sum(len(cell) + MARKUP for cell in row)
        if length > MAX_ROWS_TEXT:
            return
        yield row


def _cut_cells(row: Row) -> list[str]:
    return [cut_text(_cell(value), MAX_CELL_TEXT) for value in row.values()]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _error_text(error: RowError) -> str:
    return cut_text(f"{error.column}: {error.reason}" if error.column else error.reason, MAX_CELL_TEXT)


def _extended_json(document: Document, indent: int | None = None) -> str:
    return json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS, indent=indent, ensure_ascii=False)


def _value(text: object) -> Any:
    return json.loads(text) if isinstance(text, str) else text
