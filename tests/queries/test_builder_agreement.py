"""Our builder makes the ASTs that ZQL's own builder makes, before and after the names become those of the replica."""

import json
import re
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from changesource.queries.builder import Ast, Tables
from changesource.queries.errors import InvalidQuery
from changesource.queries.restriction import NO_ROW, Restriction
from changesource.rules.checks import RuleScope
from tests.examples import examples
from tests.node.tools import build_queries
from tests.queries.programs import Program, Programs, apps, build, zero_schema
from tests.queries.shop import with_open_rules

REFUSED_ONLY_HERE = {
    # TypeScript's compiler refuses these. ZQL would send them, and zero-cache could not read them, or would find nothing.
    r"has no column 'nothing'": "names are typed",
    r"is never compared with a": "values are typed like their columns",
    r"compares text, and this is a": "LIKE is typed for texts",
    r"a json column can only be compared with null": "objects are no values in an AST",
    r": compare with a string, a number, true or false, or null": "values are typed",
    r": NOT IN takes a list|: IN takes a list": "the value of IN is typed",
    r"half a surrogate pair": "strings hold characters",
    r"no number column holds integers beyond": "numbers in JSON are doubles",
    # zero-cache throws at these, and stops the client group.
    r"a pattern ends with a backslash": "zql/src/builder/like.ts",
    r"a json column has no order": "zql/src/ivm/data.ts, compareValues",
    r"the query of an exists has no (related|start)": "zql/src/builder/builder.ts, EXISTS subqueries must not",
    # A function that forgets its return shows no rows rather than all.
    r"A condition comes from cmp, and_, or_, not_ or exists": "where(() => undefined) after another where",
}
"""What our builder refuses and ZQL's does not, and why."""


PROGRAMS = 4
"""For each app, since apps take longer to make."""


@st.composite
def cases(draw: st.DrawFn, *, misfits: bool) -> tuple[RuleScope, list[Program]]:
    scope = RuleScope(with_open_rules(draw(apps)))
    programs = Programs(draw, scope, misfits=misfits)
    return scope, [programs.program() for _ in range(PROGRAMS)]


@given(cases(misfits=True))
@settings(max_examples=examples(400))
def test_both_builders_make_the_same_ast(case: tuple[RuleScope, list[Program]]) -> None:
    """Or both refuse, or ours does for one of the reasons above."""
    scope, programs = case
    schema = zero_schema(scope)
    answers = build_queries([{"schema": schema, "program": program} for program in programs])
    for program, theirs in zip(programs, answers, strict=True):
        ours, refusal = built(scope, program)
        if ours is not None:
            event("built")
            assert ours == theirs.get("built"), theirs.get("thrown")
        elif "thrown" in theirs:
            event("refused by both")
        else:
            event("refused here")
            assert any(re.search(pattern, refusal) for pattern in REFUSED_ONLY_HERE), refusal


def built(scope: RuleScope, program: Program) -> tuple[Ast | None, str]:
    """The AST, or why there is none."""
    try:
        return build(Tables(scope), program).ast, ""
    except InvalidQuery as error:
        return None, error.message


@given(cases(misfits=False))
@settings(max_examples=examples(400))
def test_server_names_are_those_of_zero(case: tuple[RuleScope, list[Program]]) -> None:
    """Where every caller sees all rows, the AST that is sent is ZQL's own, but for `flip`, limits inside an EXISTS, and
    constants."""
    scope, programs = case
    schema = zero_schema(scope)
    ours = [Restriction(scope).restricted(build(Tables(scope), program).ast, {}) for program in programs]
    answers = build_queries(
        [{"schema": schema, "program": program, "asts": [ast]} for program, ast in zip(programs, ours, strict=True)]
    )
    for theirs in answers:
        # Conditions that always or never hold are worked out here: test_restriction.py.
        is_compared = not has_constant(theirs["built"])
        event("compared" if is_compared else "has a constant")
        assert not is_compared or comparable(theirs["asts"][0]) == comparable(theirs["mapped"])


def has_constant(value: Any) -> bool:
    """Whether an AST has an AND or OR of nothing."""
    if isinstance(value, dict):
        return value.get("conditions") == [] or any(map(has_constant, value.values()))
    return isinstance(value, list) and any(map(has_constant, value))


def comparable(value: Any) -> Any:
    """An AST without what test_restriction.py says about `flip`, and about limits inside an EXISTS."""
    if isinstance(value, list):
        return [comparable(member) for member in value]
    if not isinstance(value, dict):
        return value
    value = {name: comparable(member) for name, member in value.items() if name != "flip"}
    if value.get("type") == "correlatedSubquery" and value["related"]["subquery"].get("limit"):
        del value["related"]["subquery"]["limit"]
    if "conditions" in value:  # Zero sorts them, also by `flip`
        value["conditions"].sort(key=lambda each: json.dumps(each, sort_keys=True))
    return value


@given(cases(misfits=False))
@settings(max_examples=examples(100))
def test_a_query_for_no_row_is_known_by_another_hash(case: tuple[RuleScope, list[Program]]) -> None:
    """When a caller loses a claim, zero-cache has to see that the query is another one."""
    scope, programs = case
    closed = RuleScope(with_open_rules(scope.app, permissions=""))
    for program in programs:
        query = build(Tables(scope), program)
        asts: list[Ast] = [Restriction(each).restricted(query.ast, {}) for each in (scope, closed)]
        (found,) = build_queries([{"asts": asts}])
        assert found["asts"][1]["where"] == NO_ROW
        assert (found["hashes"][0] != found["hashes"][1]) or asts[0].get("where") == NO_ROW
