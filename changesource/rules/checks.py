"""What is wrong with the rules of a table: columns that do not exist, and filters for which zero-cache has no condition."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from bson import DatetimeMS, Decimal128, ObjectId

from changesource.mql import (
    And,
    Compare,
    ElemMatchValue,
    Exists,
    Filter,
    HasRemainder,
    HasSize,
    HasType,
    In,
    MatchesPattern,
    MqlError,
    Nor,
    Not,
    Or,
    Related,
    Variable,
    VariableCondition,
    walk,
)
from changesource.rules.patterns import like_pattern
from changesource.rules.syntax import PermissionProblem, Permissions, Rule, parse_permissions
from changesource.tables.definition import AppDefinition, Column, ColumnType, Table
from changesource.tables.relationships import Relationship, read_relationships
from changesource.tables.values import MAX_SAFE_INTEGER

MAX_RELATED_DEPTH: Final = 4
"""How deep `$exists` may be nested: each is a join that zero-cache keeps up to date for every query of the table."""

MAX_CONDITIONS: Final = 1_000
"""The limit of one rule. zero-cache copies the rules of a table into every query of it, and SQLite takes expressions up to
1000 deep."""

_NO_CONDITION = "zero-cache has no condition for it"


@dataclass(frozen=True)
class RuleScope:
    """What rules may name: the tables and the relationships of an app."""

    app: AppDefinition

    @cached_property
    def tables(self) -> Mapping[str, Table]:
        return {table.name: table for table in self.app.tables}

    @cached_property
    def relationships(self) -> Mapping[str, Mapping[str, Relationship]]:
        return read_relationships(self.app).by_table

    def relationship(self, table: Table, name: str) -> Relationship | None:
        return self.relationships.get(table.name, {}).get(name)

    def column(self, table: Table, name: str) -> Column | None:
        return next((column for column in table.columns if column.name == name), None)


def has_all_tables(scope: RuleScope, table: Table, filter: Filter) -> bool:
    """Whether all relationships that `filter` follows from `table` are there. In the part of an app that a client sees, some
    are not."""
    for part in walk(filter):
        if isinstance(part, Related):
            relationship = scope.relationship(table, part.relationship)
            if relationship is None:
                return False
            if not has_all_tables(scope, scope.tables[relationship.destination], part.filter):
                return False
    return True


def permission_problems(scope: RuleScope, table: Table) -> Iterator[PermissionProblem]:
    """What is wrong with the permissions of `table`, each problem with its place inside them."""
    permissions = parse_permissions(table.permissions)
    yield from permissions.problems
    for rule in _all_rules(permissions):
        yield from rule_problems(scope, table, rule)


def rule_problems(scope: RuleScope, table: Table, rule: Rule) -> Iterator[PermissionProblem]:
    """What is wrong with a rule that could be parsed."""
    if _count(rule.filter) > MAX_CONDITIONS:
        message = f"A rule has at most {MAX_CONDITIONS} conditions. Make it shorter, for example with $in."
        yield PermissionProblem((rule.place,), message)
        return
    for problem in _problems(scope, table, rule.filter, MAX_RELATED_DEPTH):
        yield PermissionProblem((rule.place, *problem.place), problem.message)


def _all_rules(permissions: Permissions) -> Iterator[Rule]:
    for rules in permissions.rules.values():
        yield from rules


def _count(filter: Filter) -> int:
    count = 0
    for part in walk(filter):
        match part:
            case Related(_, condition):
                count += 1 + _count(condition)
            case In(_, tuple() as values, _):
                count += 1 + len(values)
            case _:
                count += 1
    return count


def _problems(scope: RuleScope, table: Table, filter: Filter, depth: int) -> Iterator[MqlError]:
    for part in walk(filter):
        match part:
            case And() | Or() | Nor() | Not():
                pass  # its members follow
            case VariableCondition(variable, condition):
                for error in _variable_problems(condition):
                    yield error.within(str(variable))
            case Related(name, condition):
                yield from _related_problems(scope, table, name, condition, depth)
            case Compare(path) | In(path) | MatchesPattern(path):
                for error in _field_problems(scope, table, path, part):
                    yield error.within(".".join(path))
            case _:
                yield MqlError(*_refusal(part))


def _related_problems(scope: RuleScope, table: Table, name: str, condition: Filter, depth: int) -> Iterator[MqlError]:
    relationship = scope.relationship(table, name)
    if relationship is None:
        yield MqlError(f"The table {table.name!r} has no relationship {name!r}.", ("$exists",))
    elif depth == 0:
        yield MqlError(f"Put at most {MAX_RELATED_DEPTH} $exists inside each other.", ("$exists",))
    else:
        for error in _problems(scope, scope.tables[relationship.destination], condition, depth - 1):
            yield error.within("$exists", "where")


def _field_problems(scope: RuleScope, table: Table, path: tuple[str, ...], filter: Filter) -> Iterator[MqlError]:
    column = scope.column(table, path[0]) if len(path) == 1 else None
    if column is not None:
        yield from _column_problems(column, filter)
    elif len(path) > 1 and scope.column(table, path[0]) is not None:
        yield MqlError("A column has no fields. Give the field a column of its own in the mapping.")
    else:
        yield MqlError(f"The table {table.name!r} has no column {'.'.join(path)!r}.")


def _refusal(filter: Filter) -> tuple[str, tuple[str, ...]]:
    path = ".".join(getattr(filter, "path", ()))
    place = (path,) if path else ()
    match filter:
        case Exists():
            return 'A column does not distinguish missing from null. Use {"$ne": null} or {"$eq": null}.', place
        case HasType():
            return "$type: the type of a column is known; leave this out, or compare with null.", place
        case HasRemainder():
            return f"$mod: {_NO_CONDITION}. Compute a column for it in the mapping.", place
        case HasSize():
            return f"$size: {_NO_CONDITION}. Compute a column for it in the mapping.", place
        case _:
            name = {"ElemMatch": "$elemMatch", "ElemMatchValue": "$elemMatch", "All": "$all", "Expr": "$expr"}
            operator = name.get(type(filter).__name__, type(filter).__name__)
            return f"{operator}: {_NO_CONDITION}. Compute a column for it in the mapping.", place


# Columns


def _column_problems(column: Column, filter: Filter) -> Iterator[MqlError]:
    match filter:
        case MatchesPattern(_, pattern):
            if column.type != "string":
                yield MqlError("Only a string column has text to search.", ("$regex",))
            elif like_pattern(pattern) is None:
                yield _no_pattern()
        case In(_, Variable(), _) if column.type == "json":
            yield _no_json()
        case In(_, tuple() as values, patterns):
            if patterns:
                yield MqlError("Write values only, and put $regex beside them in an $or.", ("$in",))
            for value in values:
                yield from _value_problems(column.type, value, "$in")
        case Compare(_, operator, value):
            yield from _value_problems(column.type, value, operator)


def _value_problems(column_type: ColumnType, value: Any, operator: str) -> Iterator[MqlError]:
    if value is None:
        return
    if column_type == "json":
        yield _no_json()
    elif not isinstance(value, Variable) and (reason := why_not_literal(column_type, value)):
        yield MqlError(reason, () if operator == "$eq" else (operator,))


def why_not_literal(column_type: ColumnType, value: Any) -> str:
    """Why no value of a column can be compared with `value`; empty when one can."""
    kind = _kind(value)
    if kind == column_type:
        return _why_not_number(value) if kind == "number" else ""
    if isinstance(value, DatetimeMS) and column_type == "number":
        return f"A number column holds a date as milliseconds: write {int(value)}."
    if isinstance(value, ObjectId) and column_type == "string":
        return f'A string column holds an ObjectId as text: write "{value}".'
    if isinstance(value, Decimal128):
        return "Columns hold no decimals. Write a number or a text, whichever the column holds."
    return f"A {column_type} column never equals {'such a value' if kind is None else f'a {kind}'}."


def _why_not_number(value: Any) -> str:
    if isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER:
        return "No number column holds integers beyond ±(2^53 - 1)."
    return "" if math.isfinite(value) else "A number column holds finite numbers only."


def _kind(value: Any) -> ColumnType | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if type(value) is str else None


def _no_json() -> MqlError:
    return MqlError(
        "A json column can only be compared with null. Give the value that the rule asks about a column of its own."
    )


def _no_pattern() -> MqlError:
    return MqlError(
        "zero-cache takes only patterns without special characters, as its LIKE is not a regular expression: "
        '"text" anywhere, or "^text" at the beginning. A special character after a backslash stands for itself.',
        ("$regex",),
    )


# Variables


def _variable_problems(condition: Filter) -> Iterator[MqlError]:
    for part in walk(condition):
        match part:
            case And() | Not() | Exists():
                pass
            case Compare(_, operator, value):
                yield from _claim_value_problems(value, operator)
            case In(_, tuple() as values, ()):
                for value in values:
                    yield from _claim_value_problems(value, "$in")
            case ElemMatchValue(_, Compare(_, "$eq", value)):
                yield from _claim_value_problems(value, "$elemMatch", may_be_null=False)
            case ElemMatchValue(_, In(_, tuple() as values, ())):
                for value in values:
                    yield from _claim_value_problems(value, "$elemMatch", may_be_null=False)
            case _:
                yield MqlError(
                    "A claim can be compared with values, looked for in a list ($in), asked whether it is there ($exists), "
                    'and, when it is a list, whether it holds a value: {"$elemMatch": {"$eq": …}} or '
                    '{"$elemMatch": {"$in": […]}}.'
                )


def _claim_value_problems(value: Any, operator: str, *, may_be_null: bool = True) -> Iterator[MqlError]:
    if value is None and may_be_null:
        return
    kind = _kind(value)
    if isinstance(value, Variable):
        yield MqlError(
            "A claim is compared with values that are written in the rule, not with other claims.", (operator,)
        )
    elif kind is None:
        yield MqlError("A claim is compared with a string, a number, true or false, or null.", (operator,))
    elif kind == "number" and (reason := _why_not_number(value)):
        yield MqlError(reason, (operator,))
