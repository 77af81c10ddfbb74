"""What the draft of a table makes of documents, before it is published."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from bson import json_util

from changesource.errors import InvalidDefinition
from changesource.mapping.definition import AppDefinition, Table
from changesource.mapping.problems import find_problems
from changesource.mapping.row_errors import RowError
from changesource.mapping.tables import CompiledTable, Document, Row
from changesource.models import App
from changesource.models.draft import draft_definition
from changesource.mongo.documents import first_documents
from changesource.streaming.source_calls import ask_source


class DocumentPreview(NamedTuple):
    """A document, the rows that it gives, as zero-cache would get them, and what could not be built of it."""

    document: Document
    rows: list[Row]
    errors: list[RowError]


def preview_table(app: App, table_name: str, limit: int) -> list[DocumentPreview]:
    """The first `limit` documents of the table's collection, in the order of `_id`. `table_name`: its name or server name.

    Raises `InvalidDefinition` when there is no such table, or with every problem of the draft; `UnknownSource`,
    `SourceUnreachable`, `SourceUnusable`.
    """
    draft = draft_definition(app)
    table = find_table(draft, table_name)
    if problems := find_problems(draft):
        raise InvalidDefinition("\n".join([f"{app} cannot be published.", *map(str, problems)]))
    documents = ask_source(draft.source, lambda database: first_documents(database, table.collection, limit))
    compiled = CompiledTable(table)
    return [_preview(compiled, document) for document in documents]


def find_table(draft: AppDefinition, name: str) -> Table:
    """By its name, or else by its server name. Raises `InvalidDefinition`."""
    tables = {table.server_name: table for table in draft.tables} | {table.name: table for table in draft.tables}
    if name in tables:
        return tables[name]
    names = ", ".join(table.name for table in draft.tables) or "none"
    raise InvalidDefinition(f"{draft.app_id} has no table {name!r}. There are {names}.")


def _preview(table: CompiledTable, document: Document) -> DocumentPreview:
    errors: list[RowError] = []
    return DocumentPreview(document, table.rows(document, errors), errors)


def preview_json(table: Table, preview: DocumentPreview) -> dict[str, Any]:
    """`{"document", "rows", "errors"}` as JSON values: the document in relaxed Extended JSON, and what a json column holds as
    the value that it is, not as the text in which zero-cache gets it."""
    json_columns = frozenset(column.server_name for column in table.columns if column.type == "json")
    return {
        "document": json.loads(json_util.dumps(preview.document, json_options=json_util.RELAXED_JSON_OPTIONS)),
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


def _value(text: object) -> Any:
    return json.loads(text) if isinstance(text, str) else text
