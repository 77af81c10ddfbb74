"""The app of tests/rules/schema.py, with rules, and what tests ask about ASTs."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from changesource.queries.builder import Ast, Query, Tables
from changesource.queries.restriction import Restriction
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition
from tests.rules.schema import ISSUE, LABEL, LABELLING, MEMBER, app

EVERYBODY: list[Any] = [{}]
"""The rules of a table whose rows all callers see."""
OPEN = dict.fromkeys((table.name for table in (ISSUE, MEMBER, LABEL, LABELLING)), EVERYBODY)


def scope(**rules: list[Any]) -> RuleScope:
    """The app. Each table has the select rules of its name, and none without."""
    return RuleScope(app(**{table: json.dumps({"select": select}) for table, select in rules.items()}))


class Shop:
    """An app with rules, in which queries are made and restricted."""

    def __init__(self, **rules: list[Any]) -> None:
        self.scope = scope(**rules)
        self.tables = Tables(self.scope)
        self._restriction = Restriction(self.scope)

    def restricted(self, query: Query, claims: dict[str, Any] | None = None) -> Ast:
        """The AST that is sent."""
        return self._restriction.restricted(query.ast, claims or {})


def exists_in(ast: Ast) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each EXISTS and NOT EXISTS of an AST, and whether it stands under an OR of its own query."""
    if "where" in ast:
        yield from _exists_in_condition(ast["where"], under_or=False)
    for step in ast.get("related", ()):
        yield from exists_in(step["subquery"])


def _exists_in_condition(condition: dict[str, Any], *, under_or: bool) -> Iterator[tuple[dict[str, Any], bool]]:
    if condition["type"] == "correlatedSubquery":
        yield condition, under_or
        yield from exists_in(condition["related"]["subquery"])
    for part in condition.get("conditions", ()):
        yield from _exists_in_condition(part, under_or=under_or or condition["type"] == "or")


def with_open_rules(definition: AppDefinition, permissions: str = json.dumps({"select": EVERYBODY})) -> AppDefinition:
    """The app with these permissions for each table."""
    return replace(definition, tables=tuple(replace(table, permissions=permissions) for table in definition.tables))
