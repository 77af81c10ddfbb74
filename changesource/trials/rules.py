"""Trials of rules: which of a table's first rows its rules match. Runs in the process of a trial,
without Django."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from changesource.rules.checks import RuleScope
from changesource.rules.matching import RuleOutcome, explain, rows_in
from changesource.tables.definition import AppDefinition
from changesource.trials.preview import MAX_CELL_TEXT, cut_text, find_table, previews

RELATED_DOCUMENTS = 1_000
"""How many documents of each related table are read. A page waits for them, and all are in memory
at once."""


async def tried_rows(request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """`{"text", "passes", "outcomes"}` for each row of the first `limit` documents: the row as
    JSON, by column names; whether a rule of `request["action"]` matches it for a caller with
    `request["claims"]`; and `{"place", "matches", "reasons"}` for each rule. Long texts are cut.

    Related rows are looked for among the first `RELATED_DOCUMENTS` documents of their tables.
    Raises what `previews` raises.
    """
    scope = RuleScope(AppDefinition.from_json(request["definition"]))
    table = find_table(scope.app, request["table"])
    destinations: set[str] = set()
    if "$exists" in table.permissions:
        relationships = (relationship for named in scope.relationships.values() for relationship in named.values())
        destinations = {connection.destination for each in relationships for connection in each.connections}
    related = rows_in(
        {name: [row async for row in _rows(request, scope, name, RELATED_DOCUMENTS)] for name in sorted(destinations)}
    )
    async for row in _rows(request, scope, table.name, request["limit"]):
        outcomes = explain(scope, table, request["action"], row, request["claims"], related)
        yield {
            "text": cut_text(json.dumps(row, ensure_ascii=False), MAX_CELL_TEXT * 10),
            "passes": any(outcome.matches for outcome in outcomes),
            "outcomes": [_shown(outcome) for outcome in outcomes],
        }


def _shown(outcome: RuleOutcome) -> dict[str, Any]:
    return {
        "place": outcome.place,
        "matches": outcome.matches,
        "reasons": [cut_text(reason, MAX_CELL_TEXT) for reason in outcome.reasons],
    }


async def _rows(
    request: Mapping[str, Any], scope: RuleScope, table_name: str, limit: int
) -> AsyncGenerator[dict[str, Any], None]:
    names = {column.server_name: column.name for column in scope.tables[table_name].columns}
    async for preview in previews(request, table_name, limit):
        for row in preview.rows:
            yield {names[server_name]: value for server_name, value in row.items()}
