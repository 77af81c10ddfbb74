"""Random query functions over the tables of `definitions.EVERYTHING`, and values to call them with."""

from collections.abc import Callable
from typing import Any, Literal

from hypothesis import strategies as st
from pydantic import BaseModel, Field

from changesource.queries import Caller, Query, Tables
from changesource.queries.builder import OPERATORS
from changesource.queries.registry import NamedQuery
from changesource.rules.checks import RuleScope
from changesource.tables.definition import Table
from tests.publishing.exports.definitions import EVERYTHING

SCOPE = RuleScope(EVERYTHING)
TABLES = Tables(SCOPE)
RELATED = [table for table in EVERYTHING.tables if SCOPE.relationships.get(table.name)]
"""Those with most to say in queries."""


class Page(BaseModel):
    size: int = Field(default=7, ge=0)
    cursor: str | None = None


class Values(BaseModel):
    text: str
    texts: list[str]
    number: float
    numbers: list[float]
    flag: bool
    flags: list[bool]
    level: Literal["low", "high"] = "low"
    maybe_text: str | None = Field(default=None, alias="maybeText")
    maybe_number: float | None
    page: Page = Page(size=3)
    nested: Page
    free: dict[str, str] = {}


Step = Callable[[Any, Any, Any], Any]
"""(A query or expressions, args, caller) → a query or a condition."""

texts = st.sampled_from(["", "a", "low", 'a "b"', "é\u2028", "__proto__", "Aa "])
numbers = st.sampled_from([0, 1, -1, 1.5, 1e300, 2**53 - 1, -2.5e-7])
scalars: dict[str, st.SearchStrategy[Any]] = {"string": texts, "number": numbers, "boolean": st.booleans()}

arguments = st.fixed_dictionaries(
    {
        "text": texts,
        "texts": st.lists(texts, max_size=3),
        "number": numbers,
        "numbers": st.lists(numbers, max_size=3),
        "flag": st.booleans(),
        "flags": st.lists(st.booleans(), max_size=2),
        "maybe_number": st.none() | numbers,
        "nested": st.fixed_dictionaries({}, optional={"size": st.integers(0, 5), "cursor": st.none() | texts}),
    },
    optional={
        "level": st.sampled_from(["low", "high"]),
        "maybeText": st.none() | texts,
        "page": st.fixed_dictionaries({}, optional={"size": st.integers(0, 5), "cursor": st.none() | texts}),
        "free": st.dictionaries(st.sampled_from(["x", "y"]), texts, max_size=2),
    },
)
callers = st.builds(
    Caller,
    user_id=st.none() | texts,
    claims=st.fixed_dictionaries({}, optional={"org": st.none() | texts, "role-name": texts}),
)

_GIVEN: dict[str, list[Callable[[Any, Any], Any]]] = {
    "string": [
        lambda args, caller: args.text,
        lambda args, caller: args.level,
        lambda args, caller: args.maybe_text,
        lambda args, caller: args.page.cursor,
        lambda args, caller: args.nested.cursor,
        lambda args, caller: caller.user_id,
        lambda args, caller: caller.claims.get("org"),
        lambda args, caller: caller.claims.get("role-name"),
    ],
    "number": [
        lambda args, caller: args.number,
        lambda args, caller: args.maybe_number,
        lambda args, caller: args.page.size,
        lambda args, caller: args.nested.size,
    ],
    "boolean": [lambda args, caller: args.flag],
}
_LISTS: dict[str, Callable[[Any], Any]] = {
    "string": lambda args: args.texts,
    "number": lambda args: args.numbers,
    "boolean": lambda args: args.flags,
}
_LIMITS: list[Callable[[Any], Any]] = [lambda args: args.page.size, lambda args: args.nested.size]
_OPTIONAL: list[Callable[[Any, Any], Any]] = [
    lambda args, caller: args.maybe_text,
    lambda args, caller: args.maybe_number,
    lambda args, caller: args.nested.cursor,
    lambda args, caller: caller.user_id,
]


@st.composite
def comparisons(draw: st.DrawFn, table: Table) -> Step:
    """A condition on one column, or on values alone."""
    if draw(st.integers(0, 5)) == 0:
        left = draw(st.sampled_from(_GIVEN["string"]))
        right = draw(texts | st.none())
        return lambda e, args, caller: e.cmp_lit(left(args, caller), "=", right)
    column = draw(st.sampled_from(table.columns))
    if column.type == "json":
        operator = draw(st.sampled_from(["IS", "IS NOT"]))
        return lambda e, args, caller: e.cmp(column.name, operator, None)
    operators = sorted(OPERATORS - (set() if column.type == "string" else {"LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"}))
    operator = draw(st.sampled_from(operators))
    if operator in ("IN", "NOT IN"):
        if draw(st.booleans()):
            given = _LISTS[column.type]
            return lambda e, args, caller: e.cmp(column.name, operator, given(args))
        values = draw(st.lists(scalars[column.type], max_size=3))
        return lambda e, args, caller: e.cmp(column.name, operator, values)
    if draw(st.booleans()):
        value = draw(scalars[column.type] | st.none())
        return lambda e, args, caller: e.cmp(column.name, operator, value)
    of_call = draw(st.sampled_from(_GIVEN[column.type]))
    return lambda e, args, caller: e.cmp(column.name, operator, of_call(args, caller))


@st.composite
def conditions(draw: st.DrawFn, table: Table, depth: int) -> Step:
    kinds = ["comparison", "optional", *(["and", "or", "not"] if depth else [])]
    if depth and SCOPE.relationships.get(table.name):
        kinds += ["exists", "not_exists"]
    match draw(st.sampled_from(kinds)):
        case "and" | "or" as kind:
            parts = draw(st.lists(conditions(table, depth - 1), max_size=3))
            return lambda e, args, caller: getattr(e, f"{kind}_")(*(part(e, args, caller) for part in parts))
        case "not":
            inner = draw(conditions(table, depth - 1))
            return lambda e, args, caller: e.not_(inner(e, args, caller) or e.and_())
        case "optional":
            given = draw(st.sampled_from(_OPTIONAL))
            inner = draw(comparisons(table))
            return lambda e, args, caller: e.and_(None if given(args, caller) is None else inner(e, args, caller))
        case "exists" | "not_exists" as kind:
            is_not = kind == "not_exists"
            name = draw(st.sampled_from(sorted(SCOPE.relationships[table.name])))
            flip = draw(st.sampled_from([None, True, False]))
            destination = SCOPE.tables[SCOPE.relationships[table.name][name].destination]
            is_junction = len(SCOPE.relationships[table.name][name].connections) > 1
            steps = draw(st.none() | programs(destination, depth - 1, in_junction=is_junction, in_exists=True))

            def exists(e: Any, args: Any, caller: Any) -> Any:
                inner = None if steps is None else lambda q: _applied(q, steps, args, caller)
                condition = e.exists(name, inner, flip=flip)
                return e.not_(condition) if is_not else condition

            return exists
        case _:
            return draw(comparisons(table))


@st.composite
def programs(
    draw: st.DrawFn, table: Table, depth: int, *, in_junction: bool = False, in_exists: bool = False
) -> list[Step]:
    """What is done to a query of `table`, one after the other."""
    kinds = ["where", "one", *([] if in_junction else ["order_by", "limit"]), *([] if in_exists else ["start"])]
    relationships = SCOPE.relationships.get(table.name, {})
    related: set[str] = set()
    if depth and relationships and not in_exists:
        kinds.append("related")
    steps: list[Step] = []
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=4)):
        match kind:
            case "where":
                steps.append(draw(_where(table, depth)))
            case "one":
                steps.append(lambda q, args, caller: q.one())
            case "order_by":
                steps.append(draw(_order_by(table)))
            case "limit":
                steps.append(draw(_limit()))
            case "start":
                steps.append(draw(_start(table)))
            case "related":
                name = draw(st.sampled_from(sorted(relationships)))
                if name not in related:  # Zero takes each name once
                    related.add(name)
                    steps.append(draw(_related(table, name, depth)))
    return steps


@st.composite
def _where(draw: st.DrawFn, table: Table, depth: int) -> Step:
    condition = draw(conditions(table, depth))
    return lambda q, args, caller: q.where(lambda e: condition(e, args, caller))


@st.composite
def _order_by(draw: st.DrawFn, table: Table) -> Step:
    name = draw(st.sampled_from(table.columns)).name
    direction = draw(st.sampled_from(["asc", "desc"]))
    return lambda q, args, caller: q.order_by(name, direction)


@st.composite
def _limit(draw: st.DrawFn) -> Step:
    if draw(st.booleans()):
        count = draw(st.integers(0, 100))
        return lambda q, args, caller: q.limit(count)
    of_call = draw(st.sampled_from(_LIMITS))
    return lambda q, args, caller: q.limit(of_call(args))


@st.composite
def _start(draw: st.DrawFn, table: Table) -> Step:
    column = draw(st.sampled_from([column for column in table.columns if column.type != "json"]))
    inclusive = draw(st.booleans())
    if draw(st.booleans()):
        value = draw(scalars[column.type] | st.none())
        return lambda q, args, caller: q.start({column.name: value}, inclusive=inclusive)
    of_call = draw(st.sampled_from(_GIVEN[column.type]))
    return lambda q, args, caller: q.start({column.name: of_call(args, caller)}, inclusive=inclusive)


@st.composite
def _related(draw: st.DrawFn, table: Table, name: str, depth: int) -> Step:
    relationship = SCOPE.relationships[table.name][name]
    destination = SCOPE.tables[relationship.destination]
    steps = draw(programs(destination, depth - 1, in_junction=len(relationship.connections) > 1))
    return lambda q, args, caller: q.related(name, lambda inner: _applied(inner, steps, args, caller))


def _applied(query: Query, steps: list[Step], args: Any, caller: Any) -> Query:
    for step in steps:
        query = step(query, args, caller)
    return query


@st.composite
def named_queries(draw: st.DrawFn) -> dict[str, NamedQuery]:
    """Some queries by name."""
    found = {}
    for index in range(draw(st.integers(5, 15))):
        table = draw(st.sampled_from([*EVERYTHING.tables, *RELATED * 5]))
        steps = draw(programs(table, 2))

        def function(q: Tables, args: Any, caller: Any, table: Table = table, steps: list[Step] = steps) -> Query:
            return _applied(q[table.name], steps, args, caller)

        name = f"programs.p{index}"
        found[name] = NamedQuery(name, "shop", function, Values, takes_caller=True)
    return found
