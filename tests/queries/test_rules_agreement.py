"""Of a restricted query, zero-cache syncs the rows that the rules let the caller see, and no others."""

import json
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from changesource.queries.builder import Tables
from changesource.queries.restriction import Restriction
from changesource.rules.checks import RuleScope
from tests.examples import examples
from tests.node.tools import hydrate_asts
from tests.queries.model import Model
from tests.queries.programs import RICH, Program, Programs, build
from tests.queries.shop import EVERYBODY
from tests.rules.rules import claims, rules
from tests.rules.schema import ROWS, SCOPE, Row, app, in_replica

PROGRAMS = 3
"""For each set of rules and rows."""
ROWS_OF_ISSUE = 12

PLAIN: dict[str, list[Any]] = {
    "issue": [
        *EVERYBODY,
        {"owner": "$auth.sub"},
        {"flag": {"$ne": True}, "number": {"$nin": "$auth.levels"}},
        {"$exists": {"relationship": "members", "where": {"user": "$auth.sub"}}},
        {"$exists": {"relationship": "labels", "where": {"text": {"$ne": "a"}}}},
        {"$auth.staff": True},
    ],
    "member": [*EVERYBODY, {"user": "$auth.sub"}, {"$exists": {"relationship": "issue", "where": {"owner": "u1"}}}],
    "label": [*EVERYBODY, {"text": {"$in": ["a", None]}}],
    "labelling": [*EVERYBODY, {"labelId": {"$ne": 2}}],
}
"""Rules such as people write, of which some rows pass. Few rows pass those that are made up."""


@st.composite
def cases(draw: st.DrawFn) -> tuple[RuleScope, dict[str, list[Row]], list[dict[str, Any]], list[Program]]:
    """An app with rules, rows of its tables, the claims of two callers, and queries."""
    permissions = {
        table: json.dumps(
            {"select": draw(st.lists(st.sampled_from(PLAIN[table]) | rules(table), min_size=1, max_size=2))}
        )
        for table in SCOPE.tables
    }
    scope = RuleScope(app(RICH, **permissions))
    rows = {}
    for table, all_rows in ROWS.items():
        chosen = st.sets(st.integers(0, len(all_rows) - 1), max_size=ROWS_OF_ISSUE)
        rows[table] = [
            all_rows[index] for index in sorted(draw(chosen if table == "issue" else st.just(range(len(all_rows)))))
        ]
    programs = Programs(draw, scope, misfits=False)
    return scope, rows, [draw(claims), draw(claims)], [programs.program(2) for _ in range(PROGRAMS)]


@given(cases())
@settings(max_examples=examples(300))
def test_zero_cache_syncs_what_the_rules_allow(case: Any) -> None:
    """From SQLite, in memory, and however it plans the joins. And another set of rows has another hash."""
    scope, rows, callers, programs = case
    tables = {table.server_name: in_replica(table, rows[table.name]) for table in scope.app.tables}
    queries = [build(Tables(scope), program).ast for program in programs]
    restriction = Restriction(scope)
    asked = [(caller, query) for query in queries for caller in callers]
    asts = [restriction.restricted(query, caller) for caller, query in asked]
    assert "static" not in json.dumps(asts), "zero-cache could not run it"
    (answer,) = hydrate_asts([{"tables": tables, "asts": asts}])
    models = [Model(scope, rows, caller) for caller in callers]
    of_first = None
    for index, (_, query) in enumerate(asked):
        expected = models[index % 2].synced(query)
        for how, found in answer["found"][index].items():
            assert found["root"] == expected.root, how
            assert {table: set(keys) for table, keys in found["related"].items()} == expected.related, how
            for table, keys in found["exists"].items():
                assert set(keys) <= expected.exists[table], how
            event(f"flips in {how}", min(found["flips"], 1))
        event("rows", bool(expected.root))
        if index % 2 and expected != of_first:
            event("callers differ")
            assert answer["hashes"][index] != answer["hashes"][index - 1]
        of_first = expected
