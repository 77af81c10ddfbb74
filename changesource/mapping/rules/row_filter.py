"""Row filters: which rows of a table a client may read.

A row filter is a rule over the filter columns of a table, with `$client.<name>` for the client's attributes. It looks at
the row alone, so that the values which the log has of each row are enough to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from changesource.mapping.definition import AppDefinition, Table
from changesource.mapping.filters.predicate import compile_predicate
from changesource.mapping.filters.tree import And, Filter, Nor, Not, Or, Related, fields
from changesource.mapping.mapping_error import MappingError
from changesource.mapping.rules.checks import RuleScope, rule_problems
from changesource.mapping.rules.matching import bound
from changesource.mapping.rules.syntax import Rule, parse_rule

NAMESPACE: Final = "client"
MAX_REMEMBERED: Final = 4096
"""Values of filter columns are few and come again: the tenant of a row, not its text."""


class RowFilter:
    """`source`, a filter without problems for `table`, with the attributes of one client put in.

    Two of them let the same rows pass if they are equal.
    """

    def __init__(self, table: Table, source: object, attributes: Mapping[str, Any]) -> None:
        self._columns = table.filter_columns
        filter = bound(parse_rule(source, namespace=NAMESPACE), attributes)
        # Not the filters themselves: to Python, 1 is True.
        self._identity = repr((self._columns, filter))
        self._matches = compile_predicate(filter)
        self._remembered: dict[tuple[Any, ...], bool] = {}

    def passes(self, values: Sequence[Any]) -> bool:
        """Whether a row with these values in the filter columns passes. One for which it cannot be computed does not."""
        key = tuple(values)
        known = self._remembered.get(key)
        if known is None:
            try:
                known = self._matches(dict(zip(self._columns, values, strict=True)))
            except MappingError:
                known = False
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
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
