"""queries.py: what a query finds, and what hides the other rows, for random rules, callers and queries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings

from changesource.queries.builder import Tables
from changesource.queries.restriction import Restriction
from changesource.rules.checks import RuleScope
from changesource.rules.matching import may, rows_in
from changesource.tables.definition import Table
from changesource.trials import queries
from changesource.trials.preview import DocumentPreview
from changesource.trials.queries import tried_query
from tests.examples import examples
from tests.queries.model import Model
from tests.queries.programs import build
from tests.queries.shop import with_open_rules
from tests.queries.test_rules_agreement import cases
from tests.rules.schema import ROWS, Row, app


def items_of(
    scope: RuleScope, rows: dict[str, list[Row]], claims: dict[str, Any], query: Any, **limits: int
) -> list[Any]:
    """What the trial gives for rows in place of those of a source."""

    async def read_previews(sources: Any, source: str, table: Table, limit: int) -> AsyncIterator[DocumentPreview]:
        for row in rows[table.name][:limit]:
            named = {column.server_name: row[column.name] for column in table.columns}
            yield DocumentPreview({}, [named], [])

    async def collect() -> list[Any]:
        asked = {"ast": Restriction(scope).restricted(query, claims), "open": open_restriction.restricted(query, {})}
        definition = json.loads(json.dumps(scope.app.to_json()))
        request = {"definition": definition, "sources": {}, "limit": 1_000, "claims": claims, **asked}
        return [item async for item in tried_query(json.loads(json.dumps(request)))]

    open_restriction = Restriction(RuleScope(with_open_rules(scope.app)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "read_previews", read_previews)
        for name, limit in limits.items():
            patch.setattr(queries, name, limit)
        return asyncio.run(collect())


@given(cases())
@settings(max_examples=examples(200), suppress_health_check=list(HealthCheck), deadline=None)
def test_each_hidden_row_is_hidden_by_what_is_said_to_hide_it(case: Any) -> None:
    """The rules of its table if and only if no rule of it lets the caller see the row; and then no rule matches it."""
    scope, rows, callers, programs = case
    open_scope = RuleScope(with_open_rules(scope.app))
    for program in programs:
        query = build(Tables(scope), program).ast
        everything = Model(open_scope, rows, {}).synced(query)
        for claims in callers:
            place = ""
            ids: dict[tuple[str, str], list[int]] = {}
            tables = {}
            for item in items_of(scope, rows, claims, query, SHOWN_ROWS=1_000, SHOWN_ROWS_OF_ALL=100_000):
                if "place" in item:
                    place = item["place"]["name"]
                    tables[place] = item["place"]["table"]
                    counted = sum(item["place"][state] for state in ("found", "hidden", "added"))
                    event("rows", bool(counted))
                elif "row" in item:
                    row = item["row"]
                    values = json.loads(row["text"])
                    ids.setdefault((place, row["state"]), []).append(values["id"])
                    table = scope.tables[tables[place]]
                    is_seen = may(scope, table, "select", values, claims, rows_in(rows))
                    event(f"{row['state']} {row['why']}")
                    if row["state"] != "hidden":
                        assert is_seen
                    else:
                        assert (row["why"] == "rules") != is_seen
                        assert all(outcome["reasons"] for outcome in row.get("outcomes", []))
            found = Model(scope, rows, claims).synced(query)
            at_root = {state: set(ids.get(("", state), ())) for state in ("found", "hidden", "added")}
            assert at_root["found"] == set(found.root) & set(everything.root)
            assert at_root["hidden"] == set(everything.root) - set(found.root)
            assert at_root["added"] == set(found.root) - set(everything.root)


def test_a_page_shows_some_rows_of_each_place_and_counts_all() -> None:
    """And no more than a person can read."""
    scope = RuleScope(with_open_rules(app()))
    rows = {name: [{**row, "id": number} for number, row in enumerate(each * 9)] for name, each in ROWS.items()}
    query = Tables(scope).issue.related("twins", lambda twins: twins.related("members"))
    items = items_of(scope, rows, {}, query.ast, SHOWN_ROWS=5, SHOWN_ROWS_OF_ALL=8)
    places = [item["place"] for item in items if "place" in item]
    assert [place["name"] for place in places] == ["", "twins", "twins → members"]
    assert places[0]["found"] == len(rows["issue"])
    assert all(place["found"] > 5 for place in places)
    assert ["row" in item for item in items[2:]] == [False, *[True] * 5, False, *[True] * 3, False]


def test_a_table_of_many_rows_is_read_in_part() -> None:
    """One document can have many."""
    scope = RuleScope(with_open_rules(app()))
    sample, *_ = items_of(scope, ROWS, {}, Tables(scope).issue.ast, SAMPLED_ROWS=7)
    assert sample["sample"] == {
        "table": "issue",
        "collection": "issues",
        "documents": 7,
        "rows": 7,
        "failed": 0,
        "is_whole": False,
    }
