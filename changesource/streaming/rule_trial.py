"""Trying the rules of a draft: what a caller with some claims may do with the first documents of a table."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from changesource.errors import InvalidClaims
from changesource.mapping.rules.checks import RuleScope
from changesource.mapping.rules.matching import RuleOutcome, explain, rows_in
from changesource.models import App
from changesource.models.draft import draft_definition
from changesource.publishing.json_text import StorableJSONDecoder
from changesource.streaming.preview import find_table, preview_table

RELATED_DOCUMENTS = 1_000
"""Of each table that a relationship leads to. A page waits for them, and they are in memory at once."""


@dataclass(frozen=True, slots=True)
class TriedRow:
    """A row, by names of columns, and what each rule says of it. It passes if one of them matches."""

    row: Mapping[str, Any]
    outcomes: Sequence[RuleOutcome]

    @property
    def passes(self) -> bool:
        return any(outcome.matches for outcome in self.outcomes)


def try_rules(app: App, table_name: str, action: str, claims: Mapping[str, Any], limit: int) -> list[TriedRow]:
    """The rows of the first `limit` documents of the table, with what the rules of `action` say for a caller with `claims`.

    Related rows are looked for among the first `RELATED_DOCUMENTS` documents of their tables. Raises what
    `streaming.preview.preview_table` raises.
    """
    scope = RuleScope(draft_definition(app))
    table = find_table(scope.app, table_name)
    rows = _rows(app, scope, table.name, limit)
    hops = [
        hop for found in scope.relationships.values() for relationship in found.values() for hop in relationship.hops
    ]
    asks_for_related = "$exists" in table.permissions
    destinations = {hop.destination for hop in hops} if asks_for_related else set()
    related = rows_in({name: _rows(app, scope, name, RELATED_DOCUMENTS) for name in sorted(destinations)})
    return [TriedRow(row, explain(scope, table, action, row, claims, related)) for row in rows]


def _rows(app: App, scope: RuleScope, table_name: str, limit: int) -> list[dict[str, Any]]:
    names = {column.server_name: column.name for column in scope.tables[table_name].columns}
    return [
        {names[server_name]: value for server_name, value in row.items()}
        for preview in preview_table(app, table_name, limit)
        for row in preview.rows
    ]


def read_claims(text: str) -> dict[str, Any]:
    """Claims written as a JSON object. Raises `InvalidClaims`, which holds nothing of the text."""
    try:
        claims = json.loads(text, cls=StorableJSONDecoder)
    except json.JSONDecodeError as error:
        raise InvalidClaims(f"This is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from None
    if not isinstance(claims, dict):
        raise InvalidClaims("Write claims as a JSON object: {…}.")
    return claims


def claims_of_token(token: str) -> dict[str, Any]:
    """What a JWT says. Neither its signature nor its times are looked at. Raises `InvalidClaims`, without anything of it."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        raise InvalidClaims("A JWT has three parts with dots between them. Paste the whole token.")
    try:
        payload = parts[1] + "=" * (-len(parts[1]) % 4)
        return read_claims(base64.b64decode(payload, altchars=b"-_", validate=True).decode())
    except (ValueError, InvalidClaims):  # base64, UTF-8, JSON
        raise InvalidClaims("The middle part of this token is not a JSON object in base64url. Paste a JWT.") from None
