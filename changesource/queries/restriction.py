"""Rules put into a query: a caller gets, and observes, only rows that a rule lets it select.

zero-cache does not apply permissions to named queries. So the conditions are added here, to every table that a query reads:

    root           where  <the query's own>  and  <a select rule of the table holds>
    related        the same in its subquery; for a junction too, whose rows are synced as well
    exists         the same in its subquery: a row that the caller may not see does not count as there
    not exists     the same: otherwise, whether the query has rows would tell that a hidden row is there

A table without rules shows nobody anything. A rule that names a table or a claim that is not there lets no one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from changesource.queries.builder import Ast, Condition
from changesource.rules.checks import RuleScope, has_all_tables
from changesource.rules.matching import Claims, bound
from changesource.rules.syntax import Rule, parse_permissions
from changesource.rules.zero_condition import EVERYBODY, NOBODY, all_of, either, without_flips, zero_condition
from changesource.tables.definition import Table

NO_ROW: Final[Condition] = {
    "type": "simple",
    "left": {"type": "literal", "value": 0},
    "right": {"type": "literal", "value": 1},
    "op": "=",
}
"""Never holds. zero-cache takes an empty OR out of a query before it makes the hash by which it recognizes it
(zero-protocol/ast.ts, `normalizeAST`). So a query that has come to show nothing, because a claim of the caller changed, would
have the hash of one that shows everything, and the rows would stay."""


class Restriction:
    """Puts the select rules of an app's tables into queries. What does not depend on the caller is worked out once."""

    def __init__(self, scope: RuleScope) -> None:
        self._scope = scope
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._server_names: dict[str, Mapping[str, str]] = {}

    def for_caller(self, claims: Claims) -> Callable[[Ast], Ast]:
        """A function that gives an AST, which `builder` made over the same scope, server names and the rules for a caller
        with `claims`. What it works out for one query serves the next."""
        return _OneCaller(self, self._scope, claims).query

    def restricted(self, ast: Ast, claims: Claims) -> Ast:
        """One AST as `for_caller` gives it."""
        return self.for_caller(claims)(ast)

    def server_names(self, table: Table) -> Mapping[str, str]:
        """Name of a column → its server name."""
        names = self._server_names.get(table.name)
        if names is None:
            names = self._server_names[table.name] = {column.name: column.server_name for column in table.columns}
        return names

    def rules(self, table: Table) -> tuple[Rule, ...]:
        """The select rules of `table` that have all the tables they ask for."""
        rules = self._rules.get(table.name)
        if rules is None:
            rules = tuple(
                rule
                for rule in parse_permissions(table.permissions).rules["select"]
                if has_all_tables(self._scope, table, rule.filter)
            )
            self._rules[table.name] = rules
        return rules


@dataclass(frozen=True, slots=True)
class _SeenTable:
    """A table as one caller sees it. `names` has the server names of its columns, and `rule` holds for the rows that the
    caller may select."""

    server_name: str
    names: Mapping[str, str]
    rule: Condition


class _OneCaller:
    def __init__(self, restriction: Restriction, scope: RuleScope, claims: Claims) -> None:
        self._restriction = restriction
        self._scope = scope
        self._claims = claims
        self._tables: dict[str, _SeenTable] = {}
        # By the id of a step: the step itself, without which another object could get this id, and what became of it.
        self._steps: dict[int, tuple[Ast, Ast]] = {}

    def query(self, ast: Ast) -> Ast:
        """A query or a related one."""
        found = self._subquery(ast)
        if found.get("where") == NOBODY:
            found["where"] = NO_ROW
        return found

    def _subquery(self, ast: Ast) -> Ast:
        """The same, without joins that zero-cache must not flip. The rule joins the query's own condition by AND, under which
        a flip does no harm."""
        table = self._table(ast["table"])
        names = table.names
        found: Ast = {"table": table.server_name}
        if "alias" in ast:
            found["alias"] = ast["alias"]
        where = table.rule
        if "where" in ast:
            where = all_of([without_flips(self._condition(ast["where"], names)), where])
        if where != EVERYBODY:
            found["where"] = where
        if "related" in ast:
            found["related"] = [self._related(step, names) for step in ast["related"]]
        if "limit" in ast:
            found["limit"] = ast["limit"]
        if "orderBy" in ast:
            found["orderBy"] = [[names[name], direction] for name, direction in ast["orderBy"]]
        if "start" in ast:
            found["start"] = _start(ast["start"], names)
        return found

    def _table(self, name: str) -> _SeenTable:
        seen = self._tables.get(name)
        if seen is None:
            table = self._scope.tables[name]
            parts = [
                zero_condition(self._scope, table, replace(rule, filter=bound(rule, self._claims), variables=()))
                for rule in self._restriction.rules(table)
            ]
            rule = without_flips(either(parts))
            seen = self._tables[name] = _SeenTable(table.server_name, self._restriction.server_names(table), rule)
        return seen

    def _related(self, step: Ast, names: Mapping[str, str]) -> Ast:
        known = self._steps.get(id(step))
        if known is not None:
            return known[1]
        found = {**step, "correlation": self._correlation(step, names), "subquery": self.query(step["subquery"])}
        self._steps[id(step)] = step, found
        return found

    def _correlation(self, step: Ast, names: Mapping[str, str]) -> Ast:
        correlation, destination = step["correlation"], self._table(step["subquery"]["table"]).names
        return {
            "parentField": [*map(names.__getitem__, correlation["parentField"])],
            "childField": [*map(destination.__getitem__, correlation["childField"])],
        }

    def _condition(self, condition: Condition, names: Mapping[str, str]) -> Condition:
        # No `match`: it takes several times as long, and this runs for each condition of each query.
        kind = condition["type"]
        if kind == "simple":
            left = condition["left"]
            return (
                {**condition, "left": {**left, "name": names[left["name"]]}} if left["type"] == "column" else condition
            )
        if kind != "correlatedSubquery":
            parts = [self._condition(part, names) for part in condition["conditions"]]
            return all_of(parts) if kind == "and" else either(parts)
        step = condition["related"]
        subquery = self._subquery(step["subquery"])
        if subquery.get("where") == NOBODY:
            return NOBODY if condition["op"] == "EXISTS" else EVERYBODY
        if subquery.get("limit"):
            # One row is enough. zero-cache 1.9.0 ignores the limit, but not where its planner begins at the
            # related rows: there it would find none (zql/src/ivm/take.ts, `fetch` without a constraint).
            del subquery["limit"]
        return {
            **condition,
            "related": {**step, "correlation": self._correlation(step, names), "subquery": subquery},
        }


def _start(start: Ast, names: Mapping[str, str]) -> dict[str, Any]:
    return {"row": {names[name]: value for name, value in start["row"].items()}, "exclusive": start["exclusive"]}
