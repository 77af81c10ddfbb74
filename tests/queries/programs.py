"""Queries as data, which both builders follow: ours, and ZQL's own in tests/node/build_query.mjs, which says how they look.
And strategies for them, over any app."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from changesource.queries.builder import OPERATORS, Expressions, Query, Tables
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition, Table
from tests.publishing.exports.definitions import connection, publishable_definitions
from tests.rules.schema import RELATIONSHIPS, app

Program = dict[str, Any]

# Our builder follows a program


def build(tables: Tables, program: Program) -> Query:
    """Raises what the builder raises."""
    return _follow(tables[program["table"]], program["steps"])


def _follow(query: Query, steps: list[Any]) -> Query:
    for step in steps:
        query = _take(query, step)
    return query


def _take(query: Query, step: list[Any]) -> Query:
    match step:
        case ["where", written]:
            return query.where(lambda e: _condition(e, written))
        case ["whereColumn", *values]:
            return query.where(*values)
        case ["whereExists", relationship, steps, flip]:
            return query.where_exists(relationship, _subquery(steps), flip=flip)
        case ["related", relationship, steps]:
            return query.related(relationship, _subquery(steps))
        case ["orderBy", column, direction]:
            return query.order_by(column, direction)
        case ["limit", count]:
            return query.limit(count)
        case ["one"]:
            return query.one()
        case ["start", row, inclusive]:
            return query.start(row, inclusive=inclusive)
    raise AssertionError(step)


def _condition(e: Expressions, written: Any) -> Any:
    match written:
        case None:
            return None
        case ["cmp", *values]:
            return e.cmp(*values)
        case ["cmpLit", left, operator, right]:
            return e.cmp_lit(left, operator, right)
        case ["and", members]:
            return e.and_(*(_condition(e, member) for member in members))
        case ["or", members]:
            return e.or_(*(_condition(e, member) for member in members))
        case ["not", member]:
            return e.not_(_condition(e, member))
        case ["exists", relationship, steps, flip]:
            return e.exists(relationship, _subquery(steps), flip=flip)
    raise AssertionError(written)


def _subquery(steps: list[Any] | None) -> Any:
    return None if steps is None else lambda query: _follow(query, steps)


# Schemas


def zero_schema(scope: RuleScope) -> dict[str, Any]:
    """What `createSchema` gives."""
    return {
        "tables": {
            table.name: {
                "name": table.name,
                "serverName": table.server_name,
                "columns": {
                    column.name: {
                        "type": column.type,
                        "optional": column.optional,
                        "customType": None,
                        "serverName": column.server_name,
                    }
                    for column in table.columns
                },
                "primaryKey": list(table.primary_key),
            }
            for table in scope.app.tables
        },
        "relationships": {
            table: {
                name: [
                    {
                        "sourceField": list(each.source_columns),
                        "destField": list(each.destination_columns),
                        "destSchema": each.destination,
                        "cardinality": each.cardinality,
                    }
                    for each in relationship.connections
                ]
                for name, relationship in scope.relationships.get(table, {}).items()
            }
            for table in scope.tables
        },
    }


TWO_COLUMNS = {
    "sourceField": ["issueId", "user"],
    "destSchema": "member",
    "destField": ["issueId", "user"],
    "cardinality": "many",
}
RICH = {
    **RELATIONSHIPS,
    "member": {**RELATIONSHIPS["member"], "same": [TWO_COLUMNS], "owned": [connection("user", "owner", "issue")]},
    "label": {
        "issues": [connection("id", "labelId", "labelling"), connection("issueId", "id", "issue", "one")],
        "labellings": [connection("id", "labelId", "labelling")],
    },
}
"""Relationships of the app of tests/rules/schema.py: with a junction both ways, with two columns, and from a
table to itself."""


def _has_names_for_javascript(definition: AppDefinition) -> bool:
    return not any(column.name == "__proto__" for table in definition.tables for column in table.columns)


@st.composite
def _odd_apps(draw: st.DrawFn) -> AppDefinition:
    """Apps with odd names, and with junctions between any tables."""
    definition = draw(publishable_definitions.filter(_has_names_for_javascript))
    keys = {table.name: table.primary_key[0] for table in definition.tables}
    names = st.sampled_from(sorted(keys))
    relationships = {table: dict(named) for table, named in definition.relationships.items()}
    for index in range(draw(st.integers(0, 2))):
        source, junction, destination = draw(names), draw(names), draw(names)
        relationships.setdefault(source, {})[f"through{index}"] = [
            connection(keys[source], keys[junction], junction),
            connection(keys[junction], keys[destination], destination, "one"),
        ]
    return replace(definition, relationships=relationships)


apps = st.just(app(RICH)) | _odd_apps()
"""None has a column that queries call `__proto__`: ZQL's mapper of names is a JavaScript object, which has no such key."""

# Programs

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.sampled_from(["a", "", "A%", "\\_", "u1", "=", "😀", "__proto__"]),
    "number": st.sampled_from([0, 1, -1.5, 5, 2**53 - 1, 1e300]),
    "boolean": st.booleans(),
    "json": st.none(),
}
_NULLABLE = {name: values | st.none() for name, values in _VALUES.items()}
_LISTS = {name: st.lists(values, max_size=3) for name, values in _VALUES.items()}
_MISFITS = st.sampled_from([None, 1, "a", True, {"a": 1}, ["a", None], [], "\ud800", 2**60, "a\\"])
_LIKE = st.sampled_from(sorted(operator for operator in OPERATORS if "LIKE" in operator))
_MEMBERSHIP = st.sampled_from(["IN", "NOT IN"])
_COMPARISON = st.sampled_from(["=", "!=", "IS", "IS NOT", "<", ">", "<=", ">="])
_OPERATOR = st.sampled_from(sorted(OPERATORS))
_FLIPS = st.sampled_from([None, None, True, False])
_DIRECTIONS = st.sampled_from(["asc", "desc"])
_FEW = st.sampled_from([0, 1, 2, 3, 1, 2, 3, 2])
_NOW_AND_THEN = st.integers(0, 15).map(lambda number: number == 15)
_EVEN = st.booleans()


class Programs:
    """Draws programs over the tables of one app.

    Args:
        misfits: now and then something that one of the builders refuses. Without, `NOT IN`, and `IN`, which may stand under a
            `not`, have a list of at least one value: SQLite finds null in no list of nothing, and zero-cache's own filters
            say that it is in none.
    """

    def __init__(self, draw: st.DrawFn, scope: RuleScope, *, misfits: bool) -> None:
        self._draw = draw
        self._scope = scope
        self._misfits = misfits

    def program(self, depth: int = 3) -> Program:
        table = self._draw(st.sampled_from(self._scope.app.tables))
        return {"table": table.name, "steps": self._steps(table, depth)}

    def _is_misfit(self) -> bool:
        return self._misfits and self._draw(_NOW_AND_THEN)

    def _steps(self, table: Table, depth: int, *, in_exists: bool = False, in_junction: bool = False) -> list[Any]:
        methods = ["where", "where", "whereColumn", "one"]
        misfit = self._is_misfit()
        if not in_junction or misfit:
            methods += ["orderBy", "limit"]
        if not in_exists or misfit:
            methods.append("start")
        if depth and self._scope.relationships.get(table.name):
            methods += ["whereExists"] * 3 + (["related"] * 3 if not in_exists or misfit else [])
        chosen = st.sampled_from(methods)
        return [[method, *self._step(method, table, depth)] for method in self._several(chosen)]

    def _several(self, strategy: st.SearchStrategy[Any]) -> list[Any]:
        return [self._draw(strategy) for _ in range(self._draw(_FEW))]

    def _step(self, method: str, table: Table, depth: int) -> list[Any]:
        match method:
            case "where":
                return [self._condition(table, depth)]
            case "whereColumn":
                return self._comparison(table)
            case "whereExists":
                name, steps = self._behind(table, depth, in_exists=True)
                return [name, steps, self._draw(_FLIPS)]
            case "related":
                return self._behind(table, depth, in_exists=False)
            case "orderBy":
                columns = [column.name for column in table.columns if column.type != "json" or self._is_misfit()]
                return [self._draw(st.sampled_from(columns)), self._draw(_DIRECTIONS)]
            case "limit":
                return [self._draw(st.sampled_from([-1, 2**31, 1.5] if self._is_misfit() else [0, 1, 2, 5]))]
            case "start":
                columns = [column for column in table.columns if column.type != "json"]
                chosen = self._draw(st.lists(st.sampled_from(columns), max_size=2, unique=True))
                values = {each.name: (_NULLABLE if each.optional else _VALUES)[each.type] for each in chosen}
                return [{name: self._draw(value) for name, value in values.items()}, self._draw(_EVEN)]
            case _:
                return []

    def _behind(self, table: Table, depth: int, *, in_exists: bool) -> list[Any]:
        """A relationship, and what to do with the rows to which it leads."""
        relationships = self._scope.relationships[table.name]
        name = self._draw(st.sampled_from(sorted(relationships)))
        if self._draw(_EVEN):
            return [name, None]
        relationship = relationships[name]
        destination = self._scope.tables[relationship.destination]
        in_junction = len(relationship.connections) > 1
        return [name, self._steps(destination, depth - 1, in_exists=in_exists, in_junction=in_junction)]

    def _condition(self, table: Table, depth: int) -> list[Any]:
        kinds = ["cmp", "cmp", "cmpLit"]
        if depth:
            kinds += ["and", "or", "and", "or", "not"]
            if self._scope.relationships.get(table.name):
                kinds += ["exists"] * 4
        kind = self._draw(st.sampled_from(kinds))
        match kind:
            case "cmp":
                return [kind, *self._comparison(table)]
            case "cmpLit":
                return [kind, *self._draw(_LITERALS)]
            case "not":
                return [kind, self._condition(table, depth - 1)]
            case "exists":
                name, steps = self._behind(table, depth, in_exists=True)
                return [kind, name, steps, self._draw(_FLIPS)]
            case _:
                members = range(self._draw(_FEW))
                return [
                    kind,
                    [None if self._draw(_NOW_AND_THEN) else self._condition(table, depth - 1) for _ in members],
                ]

    def _comparison(self, table: Table) -> list[Any]:
        column = self._draw(st.sampled_from(table.columns))
        if self._is_misfit():
            name = column.name if self._draw(_EVEN) else "nothing"
            return [name, self._draw(_OPERATOR), self._draw(_MISFITS)]
        forms = ["value", "comparison"]
        if column.type != "json":
            forms.append("membership")
        if column.type == "string":
            forms.append("like")
        match self._draw(st.sampled_from(forms)):
            case "value":
                return [column.name, self._draw(_VALUES[column.type])]
            case "membership":
                operator, values = self._draw(_MEMBERSHIP), self._draw(_LISTS[column.type])
                if not values and not self._misfits:
                    values = [self._draw(_VALUES[column.type])]
                return [column.name, operator, values]
            case "like":
                return [column.name, self._draw(_LIKE), self._draw(_VALUES["string"])]
            case _:
                return [column.name, self._draw(_COMPARISON), self._draw(_NULLABLE[column.type])]


_LITERALS = st.one_of(
    st.tuples(_VALUES["string"], _COMPARISON | _LIKE, _VALUES["string"]),
    st.tuples(_NULLABLE["number"], _COMPARISON, _VALUES["number"]),
    st.tuples(_VALUES["string"], _MEMBERSHIP, _LISTS["string"]),
)
