"""ASTs evaluated in Python, over rows in memory: which rows zero-cache would sync, at which place of a query.

Comparisons are zero-cache's own (zql/src/builder/filter.ts): nothing is equal to null, texts are ordered by their UTF-8, and
null comes before everything. Every part of a query is evaluated once for each key by which rows are connected to it, so that
nested queries cost no more than the sum of their parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from changesource.queries.builder import Ast, Condition

Row = Mapping[str, Any]
"""Name of a column → JSON value. A column that is not there is null. All names are those of the AST."""
Path = tuple[str, ...]
"""The aliases that lead from a query to one inside it. That of a query inside an EXISTS begins with `zsubq_`."""
Key = tuple[Any, ...]
_Test = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one table, in any order."""

    rows: Sequence[Row]
    primary_key: Sequence[str]


@dataclass(slots=True)
class Part:
    """A query, or one inside it.

    Attributes:
        asts: what is asked at this place: more than one where several conditions follow the same relationship.
        correlation: how its rows are connected to those of the query around it, None for the query itself.
        found: positions in the rows of its table, each once: those of the query itself in its order.
    """

    path: Path
    table: str
    asts: list[Ast]
    correlation: Ast | None
    found: dict[int, None] = field(default_factory=dict)


class Evaluator:
    """Evaluates ASTs over the rows of `tables`: name of a table → its rows."""

    def __init__(self, tables: Mapping[str, Rows]) -> None:
        self._tables = tables
        self._indexes: dict[tuple[str, Path], dict[Key, list[int]]] = {}
        self._selections: dict[int, _Selection] = {}
        self._kept: list[Any] = []
        """What `_selections` names by its identity."""

    def parts(self, ast: Ast) -> dict[Path, Part]:
        """What is found at each place of `ast`, the query itself first. Rows that only rules ask about are at none, as they
        are not synced."""
        parts: dict[Path, Part] = {(): Part((), ast["table"], [ast], None)}
        self._collect(ast, self.selected(ast), parts[()], parts)
        return parts

    def selected(self, ast: Ast) -> list[int]:
        """The positions of the rows that `ast` finds in its own table, in order."""
        return self._selection(ast).select(range(len(self._tables[ast["table"]].rows)))

    def holds(self, ast: Ast, position: int) -> bool:
        """Whether the condition of `ast` holds for one row, whatever its limit and its start."""
        return self._selection(ast).test(self._row(ast["table"], position))

    def are_connected(self, correlation: Ast, parents: tuple[str, Sequence[int]], child: tuple[str, int]) -> bool:
        """Whether one of the rows of `parents` is connected to the row of `child`. Both are a table with positions."""
        key = _key(self._row(*child), correlation["childField"])
        table, positions = parents
        return key is not None and any(
            _key(self._row(table, position), correlation["parentField"]) == key for position in positions
        )

    def _collect(self, ast: Ast, positions: Sequence[int], part: Part, parts: dict[Path, Part]) -> None:
        """Adds the rows at `positions` to `part`, and what is synced with them to `parts`."""
        part.found.update(dict.fromkeys(positions))
        # Of two related queries with one alias, zero-cache syncs the second.
        related = {step["subquery"]["alias"]: step for step in ast.get("related", ())}
        for step in [*related.values(), *steps_in(ast.get("where"))]:
            if step.get("system") == "permissions":
                continue
            subquery = step["subquery"]
            path = (*part.path, subquery["alias"])
            below = parts.setdefault(path, Part(path, subquery["table"], [], step["correlation"]))
            below.asts.append(subquery)
            behind = self._behind(step)
            found = {each: None for position in positions for each in behind(self._row(part.table, position))}
            self._collect(subquery, list(found), below, parts)

    def _behind(self, step: Ast) -> Callable[[Row], Sequence[int]]:
        """A function that gives the positions of the rows to which `step` leads from a row, in order."""
        selection = self._selection(step["subquery"])
        parent, child = step["correlation"]["parentField"], tuple(step["correlation"]["childField"])
        index = self._index(step["subquery"]["table"], child)

        def behind(row: Row) -> Sequence[int]:
            key = _key(row, parent)
            return () if key is None else selection.behind((child, key), index.get(key, ()))

        return behind

    def _selection(self, ast: Ast) -> _Selection:
        found = self._selections.get(id(ast))
        if found is None:
            self._kept.append(ast)
            where = ast.get("where")
            test = self._test(where) if where is not None else _always
            found = self._selections[id(ast)] = _Selection(ast, self._tables[ast["table"]], test)
        return found

    def _index(self, table: str, columns: Path) -> dict[Key, list[int]]:
        """Values of `columns` → positions of the rows that have them. No row with null is in it."""
        index = self._indexes.get((table, columns))
        if index is None:
            index = self._indexes[table, columns] = {}
            for position, row in enumerate(self._tables[table].rows):
                if (key := _key(row, columns)) is not None:
                    index.setdefault(key, []).append(position)
        return index

    def _row(self, table: str, position: int) -> Row:
        return self._tables[table].rows[position]

    def _test(self, condition: Condition) -> _Test:
        match condition:
            case {"type": "and", "conditions": parts}:
                tests = [self._test(part) for part in parts]
                return lambda row: all(test(row) for test in tests)
            case {"type": "or", "conditions": parts}:
                tests = [self._test(part) for part in parts]
                return lambda row: any(test(row) for test in tests)
            case {"type": "correlatedSubquery", "op": op, "related": step}:
                behind, is_wanted = self._behind(step), op == "EXISTS"
                return lambda row: bool(behind(row)) == is_wanted
            case {"left": {"type": "column", "name": name}, "op": op, "right": right}:
                holds = _comparison(op, right["value"])
                return lambda row: holds(row.get(name))
            case _:
                is_true = _comparison(condition["op"], condition["right"]["value"])(condition["left"]["value"])
                return lambda _: is_true


class _Selection:
    """What one query keeps of rows of its table. Its answers are kept by the columns and the key that lead to it: an AST may
    have one object in several places."""

    def __init__(self, ast: Ast, rows: Rows, test: _Test) -> None:
        self.test = test
        self._rows = rows.rows
        self._limit = ast.get("limit")
        self._start = ast.get("start")
        order = [(name, direction == "desc") for name, direction in ast.get("orderBy", ())]
        named = {name for name, _ in order}
        self._order = order + [(name, False) for name in rows.primary_key if name not in named]
        self._answers: dict[Key, list[int]] = {}

    def behind(self, key: Key, positions: Sequence[int]) -> list[int]:
        """What it keeps of the rows at `positions`, which are those that `key` leads to."""
        answer = self._answers.get(key)
        if answer is None:
            answer = self._answers[key] = self.select(positions)
        return answer

    def select(self, positions: Sequence[int]) -> list[int]:
        found = [position for position in positions if self.test(self._rows[position])]
        for name, is_descending in reversed(self._order):
            found.sort(key=lambda position: _place(self._rows[position].get(name)), reverse=is_descending)
        if self._start is not None:
            least = 1 if self._start["exclusive"] else 0
            found = [
                position for position in found if self._compared(self._rows[position], self._start["row"]) >= least
            ]
        return found if self._limit is None else found[: self._limit]

    def _compared(self, left: Row, right: Row) -> int:
        """1, 0 or -1: whether `left` sorts after `right`."""
        for name, is_descending in self._order:
            one, other = _place(left.get(name)), _place(right.get(name))
            if one != other:
                return 1 if (one > other) != is_descending else -1
        return 0


def steps_in(condition: Condition | None) -> Iterator[Ast]:
    """What the EXISTS and NOT EXISTS of a condition ask about, but not what is inside that."""
    match condition:
        case {"conditions": parts}:
            for part in parts:
                yield from steps_in(part)
        case {"related": step}:
            yield step


def _always(row: Row) -> bool:
    return True


def _key(row: Row, columns: Sequence[str]) -> Key | None:
    """None if one of the values is null, which is connected to nothing."""
    key = tuple(row.get(name) for name in columns)
    return None if None in key else key


# Values

_NEGATED: Final = {"!=": "=", "NOT IN": "IN", "NOT LIKE": "LIKE", "NOT ILIKE": "ILIKE", ">=": "<", ">": "<="}


def _comparison(op: str, right: Any) -> Callable[[Any], bool]:
    """A test of the value on the left."""
    if op in ("IS", "IS NOT"):
        return lambda left: (_typed(left) == _typed(right)) == (op == "IS")
    if right is None:
        return lambda _: False
    is_wanted = op not in _NEGATED
    holds = _positive(_NEGATED.get(op, op), right)
    return lambda left: left is not None and holds(left) == is_wanted


def _positive(op: str, right: Any) -> Callable[[Any], bool]:
    match op:
        case "=":
            return lambda left: bool(_typed(left) == _typed(right))
        case "<":
            return lambda left: _place(left) < _place(right)
        case "<=":
            return lambda left: _place(left) <= _place(right)
        case "IN":
            members = {_typed(member) for member in right}
            return lambda left: _typed(left) in members
        case "LIKE" | "ILIKE":
            pattern = re.compile(_regex(right), re.DOTALL | (re.IGNORECASE if op == "ILIKE" else 0))
            return lambda left: pattern.fullmatch(left) is not None
    raise ValueError(f"{op!r} is not an operator")


def _typed(value: Any) -> tuple[bool, Any]:
    """To Python, 1 is equal to True."""
    return (isinstance(value, bool), value)


def _place(value: Any) -> tuple[bool, Any]:
    """Where a value comes in an order."""
    return (value is not None, value.encode(errors="surrogatepass") if isinstance(value, str) else value or 0)


def _regex(pattern: str) -> str:
    """The regular expression for a pattern of LIKE. A text between two percent signs is found where it comes first, and is
    looked for nowhere else, so that no pattern takes longer than its length times that of the text."""
    parts = [""]
    for piece in re.findall(r"\\.|.", pattern, re.DOTALL):
        if piece == "%":
            parts.append("")
        else:
            parts[-1] += "." if piece == "_" else re.escape(piece[-1])
    first, *between = parts
    if not between:
        return first
    *between, last = between
    return "".join([first, *(f"(?>.*?{each})" for each in between), ".*", last])
