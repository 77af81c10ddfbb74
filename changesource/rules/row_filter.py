"""Row filters: which rows of a table a client may read.

A row filter is a rule over the filter columns of a table, with `$client.<name>` for the client's attributes. It looks at
the row alone, so that the values which the log has of each row are enough to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from changesource.mql.budget import Budget
from changesource.mql.errors import MappingError
from changesource.mql.filters.predicate import compile_predicate
from changesource.mql.filters.tree import And, Compare, Filter, In, Nor, Not, Or, Related, Variable, fields
from changesource.rules.checks import RuleScope, rule_problems, why_not_literal
from changesource.rules.matching import NOTHING, bound, value_of
from changesource.rules.syntax import Rule, parse_rule
from changesource.tables.definition import AppDefinition, Column, Table

NAMESPACE: Final = "client"
MAX_REMEMBERED: Final = 4096
"""Values of filter columns are few and come again: the tenant of a row, not its text."""
MAX_REMEMBERED_LENGTH: Final = 200
"""Of a text; nothing else keeps rows with texts of megabytes from being remembered."""


class RowFilter:
    """`source`, a filter without problems for `table`, with the attributes of one client put in. An attribute that is no
    value of the column that it is compared with is as good as missing.

    Two of them let the same rows of one collection pass if they are equal. `constant` says so if every row or none passes.
    """

    def __init__(self, table: Table, source: object, attributes: Mapping[str, Any]) -> None:
        self._columns = table.filter_columns
        columns = {column.name: column for column in table.columns}
        rule = parse_rule(source, namespace=NAMESPACE)
        filter = bound(rule, attributes)
        if any(_has_misfit(columns[name], value) for name, value in _attributes_by_column(rule.filter, attributes)):
            filter = NOTHING
        asked = sorted(fields(filter))
        # Not the filters themselves: to Python, 1 is True. Names of columns may be exchanged by a publish.
        self._identity = repr(([(name, columns[name].server_name) for name in asked], filter))
        self._matches = compile_predicate(filter)
        self._remembered: dict[tuple[Any, ...], bool] = {}
        self.constant: bool | None = None if asked else self._matches({}, Budget())

    def passes(self, values: Sequence[Any]) -> bool:
        """Whether a row with these values in the filter columns passes. One for which it cannot be computed does not."""
        if self.constant is not None:
            return self.constant
        key = tuple(values)
        known = self._remembered.get(key)
        if known is None:
            try:
                known = self._matches(dict(zip(self._columns, values, strict=True)), Budget())
            except MappingError:
                known = False
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            if all(type(value) is not str or len(value) <= MAX_REMEMBERED_LENGTH for value in key):
                self._remembered[key] = known
        return known

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowFilter) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


def row_filter_problems(definition: AppDefinition, table: Table, source: object) -> Iterator[MappingError]:
    """What is wrong with a filter of `table`, each with its place inside."""
    try:
        rule = parse_rule(source, namespace=NAMESPACE)
    except MappingError as error:
        yield error
        return
    if _asks_for_related(rule):
        yield MappingError(
            "A row filter looks at the row alone. Give the table a column for what is asked.", ("$exists",)
        )
        return
    problems = list(rule_problems(RuleScope(definition), table, rule))
    for problem in problems:
        yield MappingError(problem.message, tuple(name for name in problem.place if name))
    if problems:
        return
    for column in sorted(fields(rule.filter) - set(table.filter_columns)):
        yield MappingError(_not_a_filter_column(table, column), (column,))


def _attributes_by_column(filter: Filter, attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names of columns with the attributes that they are compared with."""
    match filter:
        case And(members) | Or(members) | Nor(members):
            for member in members:
                yield from _attributes_by_column(member, attributes)
        case Not(member):
            yield from _attributes_by_column(member, attributes)
        case Compare((name,), _, Variable() as variable) | In((name,), Variable() as variable, _):
            yield name, value_of(variable, attributes)
        case In((name,), tuple() as values, _):
            for value in values:
                if isinstance(value, Variable):
                    yield name, value_of(value, attributes)


def _has_misfit(column: Column, value: Any) -> bool:
    """Whether no row could have `value`, or one of its members, in the column: "is not" would then be true of all rows."""
    return any(why_not_literal(column.type, member) for member in (value if isinstance(value, list) else [value]))


def _not_a_filter_column(table: Table, column: str) -> str:
    columns = f"Those are {', '.join(table.filter_columns)}" if table.filter_columns else "It has none"
    return (
        f"{column!r} is not a filter column of the table {table.name!r}. {columns}. "
        "Add it to the table's filter columns and publish, then use it here."
    )


def _asks_for_related(rule: Rule) -> bool:
    def asks(filter: Filter) -> bool:
        match filter:
            case And(members) | Or(members) | Nor(members):
                return any(map(asks, members))
            case Not(member):
                return asks(member)
            case _:
                return isinstance(filter, Related)

    return asks(rule.filter)
