"""Rules put into a query: a caller gets, and observes, only rows that a rule lets it select.

zero-cache does not apply permissions to named queries. So the conditions are added here, to every table that a query reads:

    root           where  <the query's own>  and  <a select rule of the table holds>
    related        the same in its subquery; for a junction too, whose rows are synced as well
    exists         the same in its subquery: a row that the caller may not see does not count as there
    not exists     the same: otherwise, whether the query has rows would tell that a hidden row is there

A table without rules shows nobody anything. A rule that names a table or a claim that is not there lets no one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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

    def restricted(self, ast: Ast, claims: Claims) -> Ast:
        """`ast`, which `builder` made over the same scope, with server names and the rules for a caller with `claims`."""
        return _OneCaller(self, self._scope, claims).query(ast)

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


class _OneCaller:
    def __init__(self, restriction: Restriction, scope: RuleScope, claims: Claims) -> None:
        self._restriction = restriction
        self._scope = scope
        self._claims = claims
        self._conditions: dict[str, Condition] = {}

    def query(self, ast: Ast) -> Ast:
        """A query or a related one, without joins that zero-cache must not flip."""
        found = self._subquery(ast)
        if "where" not in found:
            return found
        return {**found, "where": NO_ROW if found["where"] == NOBODY else without_flips(found["where"])}

    def _subquery(self, ast: Ast) -> Ast:
        table = self._scope.tables[ast["table"]]
        names = _server_names(table)
        own = self._condition(ast["where"], names, table) if "where" in ast else EVERYBODY
        where = all_of([own, self._rule(table)])
        return {
            "table": table.server_name,
            **({"alias": ast["alias"]} if "alias" in ast else {}),
            **({"where": where} if where != EVERYBODY else {}),
            **({"related": [self._related(each, table, names) for each in ast["related"]]} if "related" in ast else {}),
            **({"limit": ast["limit"]} if "limit" in ast else {}),
            **(
                {"orderBy": [[names[name], direction] for name, direction in ast["orderBy"]]}
                if "orderBy" in ast
                else {}
            ),
            **({"start": _start(ast["start"], names)} if "start" in ast else {}),
        }

    def _rule(self, table: Table) -> Condition:
        condition = self._conditions.get(table.name)
        if condition is None:
            parts = [
                zero_condition(self._scope, table, replace(rule, filter=bound(rule, self._claims), variables=()))
                for rule in self._restriction.rules(table)
            ]
            condition = self._conditions[table.name] = either(parts)
        return condition

    def _related(self, step: Ast, table: Table, names: Mapping[str, str]) -> Ast:
        subquery = step["subquery"]
        return {**step, "correlation": self._correlation(step, names), "subquery": self.query(subquery)}

    def _correlation(self, step: Ast, names: Mapping[str, str]) -> Ast:
        destination = _server_names(self._scope.tables[step["subquery"]["table"]])
        return {
            "parentField": [names[name] for name in step["correlation"]["parentField"]],
            "childField": [destination[name] for name in step["correlation"]["childField"]],
        }

    def _condition(self, condition: Condition, names: Mapping[str, str], table: Table) -> Condition:
        match condition:
            case {"type": "and", "conditions": parts}:
                return all_of([self._condition(part, names, table) for part in parts])
            case {"type": "or", "conditions": parts}:
                return either([self._condition(part, names, table) for part in parts])
            case {"type": "correlatedSubquery", "related": step}:
                subquery = self._subquery(step["subquery"])
                if subquery.get("where") == NOBODY:
                    return NOBODY if condition["op"] == "EXISTS" else EVERYBODY
                if subquery.get("limit"):
                    # One row is enough. zero-cache 1.9.0 ignores the limit, but not where its planner begins at the
                    # related rows: there it would find none (zql/src/ivm/take.ts, `fetch` without a constraint).
                    del subquery["limit"]
                related = {**step, "correlation": self._correlation(step, names), "subquery": subquery}
                return {**condition, "related": related}
            case {"left": {"type": "column", "name": name} as left}:
                return {**condition, "left": {**left, "name": names[name]}}
            case _:
                return condition


def _server_names(table: Table) -> dict[str, str]:
    return {column.name: column.server_name for column in table.columns}


def _start(start: Ast, names: Mapping[str, str]) -> dict[str, Any]:
    return {"row": {names[name]: value for name, value in start["row"].items()}, "exclusive": start["exclusive"]}
