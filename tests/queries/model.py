"""What a restricted query has to sync, worked out slowly from `rules.matching` and the query as it was written."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from changesource.queries.builder import Ast
from changesource.rules.checks import RuleScope
from changesource.rules.matching import may, rows_in

Row = Mapping[str, Any]


@dataclass
class Synced:
    """Keys of rows: those of the query itself in order, and by table those of related rows and those that may come with an
    EXISTS."""

    root: list[int] = field(default_factory=list)
    related: dict[str, set[int]] = field(default_factory=dict)
    exists: dict[str, set[int]] = field(default_factory=dict)


class Model:
    """The rows that one caller may select. Every table has the primary key `id`."""

    def __init__(self, scope: RuleScope, rows: Mapping[str, Sequence[Row]], claims: Mapping[str, Any]) -> None:
        related = rows_in(rows)
        self._scope = scope
        self.visible = {
            name: [row for row in rows[name] if may(scope, table, "select", row, claims, related)]
            for name, table in scope.tables.items()
        }

    def synced(self, ast: Ast) -> Synced:
        found = Synced()
        for row in self._select(ast, self.visible[ast["table"]]):
            found.root.append(row["id"])
            self._collect(ast, row, found, found.related)
        return found

    def _collect(self, ast: Ast, row: Row, found: Synced, related: dict[str, set[int]]) -> None:
        """What is synced with `row`."""
        by_alias = {step["subquery"]["alias"]: step for step in ast.get("related", ())}
        for step in by_alias.values():
            for below in self._behind(step, row):
                self._add(step["subquery"], below, found, related)
        for step in _steps_in(ast.get("where")):
            for below in self._behind(step, row, is_exists=True):
                self._add(step["subquery"], below, found, found.exists)

    def _add(self, ast: Ast, row: Row, found: Synced, related: dict[str, set[int]]) -> None:
        table = self._scope.tables[ast["table"]].server_name
        related.setdefault(table, set()).add(row["id"])
        self._collect(ast, row, found, related)

    def _behind(self, step: Ast, row: Row, *, is_exists: bool = False) -> list[Row]:
        key = [row.get(name) for name in step["correlation"]["parentField"]]
        subquery = step["subquery"]
        if None in key:
            return []
        rows = [
            candidate
            for candidate in self.visible[subquery["table"]]
            if [candidate.get(name) for name in step["correlation"]["childField"]] == key
        ]
        if is_exists and subquery.get("limit"):
            subquery = {name: value for name, value in subquery.items() if name != "limit"}
        return self._select(subquery, rows)

    def _select(self, ast: Ast, rows: Sequence[Row]) -> list[Row]:
        where = ast.get("where", {"type": "and", "conditions": []})
        order = [*ast.get("orderBy", ()), ["id", "asc"]]
        found = [row for row in rows if self._holds(where, row)]
        for name, direction in reversed(order):
            found.sort(key=lambda row, name=name: _place(row.get(name)), reverse=direction == "desc")
        if (start := ast.get("start")) is not None:
            found = [row for row in found if _compare(order, row, start["row"]) >= (1 if start["exclusive"] else 0)]
        return found[: ast.get("limit", len(found))]

    def _holds(self, condition: Any, row: Row) -> bool:
        match condition:
            case {"type": "and", "conditions": parts}:
                return all(self._holds(part, row) for part in parts)
            case {"type": "or", "conditions": parts}:
                return any(self._holds(part, row) for part in parts)
            case {"type": "correlatedSubquery", "op": op, "related": step}:
                return bool(self._behind(step, row, is_exists=True)) == (op == "EXISTS")
            case {"left": {"type": "column", "name": name}, "op": op, "right": right}:
                return _holds(row.get(name), op, right["value"])
            case {"left": left, "op": op, "right": right}:
                return _holds(left["value"], op, right["value"])
        raise AssertionError(condition)


def _steps_in(condition: Any) -> list[Ast]:
    match condition:
        case {"conditions": parts}:
            return [step for part in parts for step in _steps_in(part)]
        case {"related": step}:
            return [step]
    return []


# Values, as SQL compares them

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda left, right: left == right,
    "<": lambda left, right: _place(left) < _place(right),
    "<=": lambda left, right: _place(left) <= _place(right),
    "IN": lambda left, right: left in right,
    "LIKE": lambda left, right: _like(left, right, re.DOTALL),
    "ILIKE": lambda left, right: _like(left, right, re.DOTALL | re.IGNORECASE),
}
_NEGATED = {"!=": "=", ">=": "<", ">": "<=", "NOT IN": "IN", "NOT LIKE": "LIKE", "NOT ILIKE": "ILIKE"}


def _holds(left: Any, op: str, right: Any) -> bool:
    if op in ("IS", "IS NOT"):
        return (left == right) == (op == "IS")
    if left is None or right is None:
        return False
    if op in _NEGATED:
        return not _COMPARISONS[_NEGATED[op]](left, right)
    return _COMPARISONS[op](left, right)


def _like(text: str, pattern: str, flags: int) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    wildcards = {"%": ".*", "_": "."}
    return re.fullmatch("".join(wildcards.get(part) or re.escape(part[-1]) for part in parts), text, flags) is not None


def _place(value: Any) -> tuple[bool, Any]:
    """Where a value comes in an order: null first, and texts by their UTF-8."""
    return (value is not None, value.encode() if isinstance(value, str) else value or 0)


def _compare(order: Sequence[Sequence[str]], left: Row, right: Row) -> int:
    for name, direction in order:
        one, other = _place(left.get(name)), _place(right.get(name))
        if one != other:
            return 1 if (one > other) == (direction == "asc") else -1
    return 0
