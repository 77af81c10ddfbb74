"""Row filters: which rows of a table a client may read.

A row filter is a rule over the filter columns of a table, with `$client.<name>` for the client's attributes. It looks at
the row alone, so that the values that the log holds of each row are enough to decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from changesource.mql import (
    Budget,
    Compare,
    Filter,
    In,
    MqlError,
    Related,
    Variable,
    compile_predicate,
    filter_fields,
    walk,
)
from changesource.rules.checks import RuleScope, rule_problems, why_not_literal
from changesource.rules.matching import NOTHING, bound, value_of
from changesource.rules.syntax import parse_rule
from changesource.tables.definition import AppDefinition, Column, Table

NAMESPACE: Final = "client"
MAX_REMEMBERED: Final = 4096
"""How many decisions are kept. The values of filter columns are few and recur: the tenant of a row, not its text."""
MAX_REMEMBERED_LENGTH: Final = 200
"""Decisions on longer texts are not kept, because a text can have megabytes."""


class RowFilter:
    """`source`, a filter without problems for `table`, with the attributes of one client put in. An attribute that the column
    with which it is compared cannot hold counts as missing.

    Two filters that are equal let the same rows of a collection pass. `constant` is True if every row passes, False if none
    does, and None otherwise.
    """

    def __init__(self, table: Table, source: object, attributes: Mapping[str, Any]) -> None:
        self._columns = table.filter_columns
        columns = {column.name: column for column in table.columns}
        rule = parse_rule(source, namespaces=(NAMESPACE,))
        filter = bound(rule, attributes)
        if any(_has_misfit(columns[name], value) for name, value in _attributes_by_column(rule.filter, attributes)):
            filter = NOTHING
        asked = sorted(filter_fields(filter))
        # The text of the filter, because 1 equals True in Python; server names, because a publish can exchange names.
        self._identity = repr(([(name, columns[name].server_name) for name in asked], filter))
        self._matches = compile_predicate(filter)
        self._remembered: dict[tuple[Any, ...], bool] = {}
        self.constant: bool | None = None if asked else self._matches({}, Budget())

    def passes(self, values: Sequence[Any]) -> bool:
        """Whether a row with these values in the filter columns passes. A row for which that cannot be computed does not."""
        if self.constant is not None:
            return self.constant
        key = tuple(values)
        known = self._remembered.get(key)
        if known is None:
            try:
                known = self._matches(dict(zip(self._columns, values, strict=True)), Budget())
            except MqlError:
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


def row_filter_problems(definition: AppDefinition, table: Table, source: object) -> Iterator[MqlError]:
    """What is wrong with a filter of `table`, each problem with its place inside."""
    try:
        rule = parse_rule(source, namespaces=(NAMESPACE,))
    except MqlError as error:
        yield error
        return
    if any(isinstance(part, Related) for part in walk(rule.filter)):
        yield MqlError(
            "A row filter looks at the row alone. Give the table a column for what the filter asks about.", ("$exists",)
        )
        return
    problems = list(rule_problems(RuleScope(definition), table, rule))
    for problem in problems:
        yield MqlError(problem.message, tuple(name for name in problem.place if name))
    if problems:
        return
    for column in sorted(filter_fields(rule.filter) - set(table.filter_columns)):
        yield MqlError(_not_a_filter_column(table, column), (column,))


def _attributes_by_column(filter: Filter, attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The names of columns, each with an attribute with which it is compared."""
    for part in walk(filter):
        match part:
            case Compare((name,), _, Variable() as variable) | In((name,), Variable() as variable, _):
                yield name, value_of(variable, attributes)
            case In((name,), tuple() as values, _):
                for value in values:
                    if isinstance(value, Variable):
                        yield name, value_of(value, attributes)


def _has_misfit(column: Column, value: Any) -> bool:
    """Whether the column can never hold `value` or one of its members: "is not" would then be true of all rows."""
    return any(why_not_literal(column.type, member) for member in (value if isinstance(value, list) else [value]))


def _not_a_filter_column(table: Table, column: str) -> str:
    columns = f"Those are {', '.join(table.filter_columns)}" if table.filter_columns else "It has none"
    return (
        f"{column!r} is not a filter column of the table {table.name!r}. {columns}. "
        "Add it to the table's filter columns and publish, then use it here."
    )
