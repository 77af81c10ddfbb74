"""Rules evaluated in Python: whether a row passes, and if not, which conditions do not hold.

Claims are JSON values. A claim that is null counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from changesource.mql import (
    MISSING,
    And,
    Budget,
    Compare,
    ElemMatchValue,
    Filter,
    In,
    Nor,
    Not,
    Or,
    Related,
    Variable,
    VariableCondition,
    compile_predicate,
    compile_value_test,
    walk,
)
from changesource.rules.checks import RuleScope
from changesource.rules.query import written_out
from changesource.rules.syntax import Rule, asks_for_presence, parse_permissions
from changesource.tables.definition import Table
from changesource.tables.relationships import Connection, Relationship

Row = Mapping[str, Any]
"""Name of a column → the JSON value that the row has in it. A column that is not there is null."""


@dataclass(frozen=True, slots=True)
class ByNamespace:
    """The values of variables where a rule has several namespaces: namespace → its values."""

    values: Mapping[str, Mapping[str, Any]]


Claims = Mapping[str, Any] | ByNamespace
"""The values of variables in the namespace of a rule: the claims of the caller, or the attributes of a client."""
RelatedRows = Callable[[Connection, Row], Iterable[Row]]
"""Gives the rows to which a connection leads from a row."""

EVERYTHING: Final = And(())
NOTHING: Final = Or(())


@dataclass(frozen=True, slots=True)
class RuleOutcome:
    """Whether a rule matches a row. `reasons` tells people which conditions keep it from matching."""

    place: str
    rule: Any
    matches: bool
    reasons: tuple[str, ...]


def rows_in(tables: Mapping[str, Sequence[Row]]) -> RelatedRows:
    """Finds related rows in `tables`: name of a table → its rows, which do not change."""
    indexes: dict[tuple[str, tuple[str, ...]], dict[tuple[Any, ...], list[Row]]] = {}

    def related(connection: Connection, row: Row) -> Sequence[Row]:
        key = tuple(row.get(name) for name in connection.source_columns)
        if None in key:
            return ()
        place = (connection.destination, tuple(connection.destination_columns))
        index = indexes.get(place)
        if index is None:
            index = indexes[place] = {}
            for candidate in tables.get(connection.destination, ()):
                index.setdefault(tuple(candidate.get(name) for name in place[1]), []).append(candidate)
        return index.get(key, ())

    return related


def bound(rule: Rule, claims: Claims) -> Filter:
    """The filter of `rule` with `claims` in place of variables; `NOTHING` if a claim that it needs is missing, or has a value
    of a kind that cannot be compared."""
    if any(value_of(variable, claims) is None for variable in rule.variables):
        return NOTHING
    try:
        return _bind(rule.filter, claims)
    except _UnusableClaim:
        return NOTHING


def value_of(variable: Variable, claims: Claims) -> Any:
    """The value of a claim; None for a missing one."""
    value: Any = claims.values[variable.namespace] if isinstance(claims, ByNamespace) else claims
    for name in variable.path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def rule_matches(scope: RuleScope, table: Table, rule: Rule, row: Row, claims: Claims, related: RelatedRows) -> bool:
    """Whether `row` of `table` passes `rule`, which has no problems."""
    return _matches(_Rows(scope, related), table, bound(rule, claims), row)


def may(scope: RuleScope, table: Table, action: str, row: Row, claims: Claims, related: RelatedRows) -> bool:
    """Whether a rule of `action`, one of `ACTIONS`, lets the caller do it with `row`."""
    rules = parse_permissions(table.permissions).rules[action]
    return any(rule_matches(scope, table, rule, row, claims, related) for rule in rules)


def explain(
    scope: RuleScope, table: Table, action: str, row: Row, claims: Claims, related: RelatedRows
) -> list[RuleOutcome]:
    """What each rule of `action` says of `row`, in order. The row passes if one of them matches."""
    rows = _Rows(scope, related)
    outcomes = []
    for rule in parse_permissions(table.permissions).rules[action]:
        missing = [variable for variable in rule.variables if value_of(variable, claims) is None]
        if missing:
            reasons = tuple(f"the caller has no claim {variable}" for variable in missing)
        else:
            try:
                reasons = tuple(_reasons(rows, table, rule.filter, row, claims))
            except _UnusableClaim as error:
                reasons = (str(error),)
        outcomes.append(RuleOutcome(rule.place, rule.source, not reasons, reasons))
    return outcomes


@dataclass(frozen=True, slots=True)
class _Rows:
    scope: RuleScope
    related: RelatedRows

    def behind(self, relationship: Relationship, row: Row) -> list[Row]:
        """The rows to which a relationship leads from a row."""
        rows = [row]
        for connection in relationship.connections:
            rows = [found for start in rows for found in self.related(connection, start)]
        return rows


def _matches(rows: _Rows, table: Table, filter: Filter, row: Row) -> bool:
    match filter:
        case And(members):
            return all(_matches(rows, table, member, row) for member in members)
        case Or(members):
            return any(_matches(rows, table, member, row) for member in members)
        case Nor(members):
            return not any(_matches(rows, table, member, row) for member in members)
        case Not(member):
            return not _matches(rows, table, member, row)
        case Related(name, condition):
            relationship = rows.scope.relationship(table, name)
            if relationship is None:
                return False
            destination = rows.scope.tables[relationship.destination]
            return any(_matches(rows, destination, condition, found) for found in rows.behind(relationship, row))
        case _:
            return compile_predicate(filter)(row, Budget())


def _reasons(rows: _Rows, table: Table, filter: Filter, row: Row, claims: Claims) -> Iterator[str]:
    """Why `filter` does not match; nothing if it matches."""
    if isinstance(filter, And):
        for member in filter.members:
            yield from _reasons(rows, table, member, row, claims)
        return
    if _matches(rows, table, _bind(filter, claims), row):
        return
    if isinstance(filter, Or):
        for member in filter.members:
            yield from _reasons(rows, table, member, row, claims)
    else:
        yield f"{written_out(filter)} does not hold{_found(filter, row, claims)}"


def _found(filter: Filter, row: Row, claims: Claims) -> str:
    """The values that `filter` has met, for people."""
    while isinstance(filter, Not):
        filter = filter.member
    match filter:
        case VariableCondition(variable, _):
            return f": {variable} is {_shown(value_of(variable, claims))}"
        case Compare(path, _, operand) | In(path, operand, _):
            found = f": {'.'.join(path)} is {_shown(row.get(path[0]))}"
            if isinstance(operand, Variable):
                return f"{found}, {operand} is {_shown(value_of(operand, claims))}"
            return found
        case _:
            return ""


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)


# Claims


class _UnusableClaim(Exception):
    """A claim does not have the kind of value that the rule needs."""


def _bind(filter: Filter, claims: Claims) -> Filter:
    match filter:
        case And(members):
            return And(tuple(_bind(member, claims) for member in members))
        case Or(members):
            return Or(tuple(_bind(member, claims) for member in members))
        case Nor(members):
            return Nor(tuple(_bind(member, claims) for member in members))
        case Not(member):
            return Not(_bind(member, claims))
        case Related(name, member):
            return Related(name, _bind(member, claims))
        case VariableCondition(variable, condition):
            return EVERYTHING if _holds(variable, condition, claims) else NOTHING
        case Compare(path, operator, Variable() as variable):
            return Compare(path, operator, _scalar(variable, value_of(variable, claims)))
        case In(path, Variable() as variable, patterns):
            values = _list(variable, value_of(variable, claims))
            return In(path, tuple(_scalar(variable, value) for value in values), patterns)
        case In(path, tuple() as values, patterns):
            found = tuple(
                _scalar(value, value_of(value, claims)) if isinstance(value, Variable) else value for value in values
            )
            return In(path, found, patterns)
        case _:
            return filter


def _holds(variable: Variable, condition: Filter, claims: Claims) -> bool:
    value = value_of(variable, claims)
    if not asks_for_presence(condition):
        if any(isinstance(part, ElemMatchValue) for part in walk(condition)):
            _list(variable, value)
        else:
            _scalar(variable, value)
    return compile_value_test(condition)(MISSING if value is None else value, Budget())


def _scalar(variable: Variable, value: Any) -> Any:
    if not isinstance(value, str | int | float | bool):
        raise _UnusableClaim(f"the claim {variable} is not a string, a number, true or false")
    return value


def _list(variable: Variable, value: Any) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(member, str | int | float | bool) for member in value):
        raise _UnusableClaim(f"the claim {variable} is not a list of strings, numbers, true or false")
    return value
