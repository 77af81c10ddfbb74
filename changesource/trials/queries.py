"""Trials of named queries: what they find among the first documents of their tables, and which rules hide the other rows.
Runs in the process of a trial, without Django.

A query is evaluated twice, over the same rows: with the rules put in, and without. What only the second finds is hidden.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing
from functools import cached_property
from typing import Any, Final

from changesource.errors import TrialBeyondLimits
from changesource.mongo.source import Sources
from changesource.queries.builder import Ast
from changesource.queries.evaluation import Evaluator, Part, Path, Rows, steps_in
from changesource.queries.restriction import Restriction
from changesource.queries.transform import names_in
from changesource.rules.checks import RuleScope
from changesource.rules.matching import explain, rows_in
from changesource.tables.definition import AppDefinition, Table
from changesource.trials.preview import MAX_CELL_TEXT, cut_text, read_previews

SAMPLED_DOCUMENTS: Final = 1_000
"""How many documents of each table are read at most. A page waits for them, and their rows are in memory at once."""
SAMPLED_ROWS: Final = 10_000
"""How many rows of each table are kept at most, as one document can have many."""
SHOWN_ROWS: Final = 30
"""How many rows of each kind (found, hidden, found only with the rules) a page shows of one place of a query."""
SHOWN_ROWS_OF_ALL: Final = 300
"""How many rows a page shows of all places."""
MAX_ROW_TEXT: Final = 2 * MAX_CELL_TEXT

_EXISTS_PREFIXES: Final = ("zsubq_zhidden_", "zsubq_")


async def tried_query(request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """`{"sample": {"table", "collection", "documents", "rows", "failed", "is_whole"}}` for each table that is read. For each
    place of the query that syncs rows `{"place": {"name", "is_exists", "table", "found", "hidden", "added"}}`, with numbers
    of rows, followed by `{"row": {"state", "text", "why", "outcomes", "tables"}}` for each row that is shown. `state` is one
    of the three kinds; `why` is described at `_Trial._why`.

    `request["ast"]` is the query with the rules, and `request["open"]` the one without; the latter has all places of the
    former. Raises what `preview.read_previews` raises, and `TrialBeyondLimits`.
    """
    scope = RuleScope(AppDefinition.from_json(request["definition"]))
    try:
        trial = _Trial(scope, request["ast"], request["open"], request["claims"])
        tables = trial.tables_to_read()
    except RecursionError as error:
        raise _too_deep() from error
    sources = Sources(request["sources"])
    try:
        for table in tables:
            yield {"sample": await trial.read(sources, table, request["limit"])}
    finally:
        await sources.close()
    try:
        for item in trial.items():
            yield item
    except RecursionError as error:
        raise _too_deep() from error


def _too_deep() -> TrialBeyondLimits:
    return TrialBeyondLimits("The query is nested too deeply to be tried. Nest fewer conditions.")


class _Trial:
    def __init__(self, scope: RuleScope, ast: Ast, open_ast: Ast, claims: Mapping[str, Any]) -> None:
        self._scope = scope
        self._ast = ast
        self._open = open_ast
        self._claims = claims
        self._tables = {table.server_name: table for table in scope.app.tables}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._left = SHOWN_ROWS_OF_ALL
        restricted = Restriction(scope).for_caller(claims)
        self._visible_asts = {
            name: restricted({"table": self._tables[name].name}) for name in {name for name, _ in names_in(open_ast)}
        }
        """Server name of a table of the query → the query for all its rows that the caller may see."""

    def tables_to_read(self) -> list[Table]:
        """Those of the query, and those that the rules of these ask about."""
        asts = [self._open, *self._visible_asts.values()]
        names = {name for ast in asts for name, _ in names_in(ast)}
        return [table for name, table in self._tables.items() if name in names]

    async def read(self, sources: Sources, table: Table, limit: int) -> dict[str, Any]:
        """Reads the rows of the first `limit` documents, and says how many that were."""
        rows = self._rows[table.server_name] = []
        documents = failed = 0
        async with aclosing(read_previews(sources, self._scope.app.source, table, limit)) as previews:
            async for preview in previews:
                documents += 1
                failed += bool(preview.errors)
                rows.extend(preview.rows)
                if len(rows) >= SAMPLED_ROWS:
                    break
        is_cut = documents == limit or len(rows) >= SAMPLED_ROWS
        return {
            "table": table.name,
            "collection": table.collection,
            "documents": documents,
            "rows": len(rows),
            "failed": failed,
            "is_whole": not is_cut,
        }

    def items(self) -> Iterator[dict[str, Any]]:
        restricted = self._evaluator.parts(self._ast)
        for path, part in self._evaluator.parts(self._open).items():
            yield from self._items_of(part, restricted.get(path), restricted)

    def _items_of(self, part: Part, with_rules: Part | None, parts: Mapping[Path, Part]) -> Iterator[dict[str, Any]]:
        found: Collection[int] = with_rules.found if with_rules else {}
        positions = {
            "found": [position for position in part.found if position in found],
            "hidden": [position for position in part.found if position not in found],
            "added": [position for position in found if position not in part.found],
        }
        table = self._tables[part.table]
        numbers = {state: len(each) for state, each in positions.items()}
        is_exists = any(alias.startswith(_EXISTS_PREFIXES) for alias in part.path)
        yield {"place": {"name": _place_name(part.path), "is_exists": is_exists, "table": table.name, **numbers}}
        state_of = {position: state for state, each in positions.items() for position in each[:SHOWN_ROWS]}
        for position in [*part.found, *positions["added"]]:
            if (state := state_of.get(position)) is None or self._left == 0:
                continue
            self._left -= 1
            why = self._why(part, with_rules, parts, position) if state == "hidden" else {"why": ""}
            text = json.dumps(self._named(table, position), ensure_ascii=False)
            yield {"row": {"state": state, "text": cut_text(text, MAX_ROW_TEXT), **why}}

    def _why(self, part: Part, with_rules: Part | None, parts: Mapping[Path, Part], position: int) -> dict[str, Any]:
        """Why a row is hidden. `why` is

        - `rules`: no select rule of its table matches it; `outcomes` says what each says, as in `trials.rules`;
        - `related`: the query asks about rows of `tables`, and these are hidden;
        - `parent`: the rows of the query around it with which it comes are hidden;
        - `limit`: the limit, or the start, lets in other rows in its place.
        """
        table = self._tables[part.table]
        if position not in self._visible[part.table]:
            return {"why": "rules", "outcomes": self._outcomes(table, position)}
        if with_rules is None:
            return {"why": "parent"}
        if not any(self._evaluator.holds(ast, position) for ast in with_rules.asts):
            return {"why": "related", "tables": self._tables_asked_about(part)}
        if part.correlation is not None:
            parent = parts[part.path[:-1]]
            child = (part.table, position)
            if not self._evaluator.are_connected(part.correlation, (parent.table, list(parent.found)), child):
                return {"why": "parent"}
        return {"why": "limit"}

    def _tables_asked_about(self, part: Part) -> list[str]:
        steps = [step for ast in part.asts for step in steps_in(ast.get("where"))]
        asked = {name for step in steps for name, _ in names_in(step["subquery"])}
        return sorted(self._tables[name].name for name in asked)

    def _outcomes(self, table: Table, position: int) -> list[dict[str, Any]]:
        row = self._named(table, position)
        outcomes = explain(self._scope, table, "select", row, self._claims, self._related)
        return [
            {"place": each.place, "reasons": [cut_text(reason, MAX_CELL_TEXT) for reason in each.reasons]}
            for each in outcomes
        ]

    def _named(self, table: Table, position: int) -> dict[str, Any]:
        """A row under the names of the schema."""
        row = self._rows[table.server_name][position]
        return {column.name: row.get(column.server_name) for column in table.columns}

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(
            {
                name: Rows(rows, self._tables[name].server_names(self._tables[name].primary_key))
                for name, rows in self._rows.items()
            }
        )

    @cached_property
    def _visible(self) -> Mapping[str, Collection[int]]:
        """Server name of a table of the query → the positions of the rows that the caller may see."""
        return {name: set(self._evaluator.selected(ast)) for name, ast in self._visible_asts.items()}

    @cached_property
    def _related(self) -> Any:
        named = {
            self._tables[name].name: [self._named(self._tables[name], position) for position in range(len(rows))]
            for name, rows in self._rows.items()
        }
        return rows_in(named)


def _place_name(path: Path) -> str:
    """The relationships that lead there. One through a junction has two aliases, and one name."""
    names: list[str] = []
    for alias in path:
        name = alias
        for prefix in _EXISTS_PREFIXES:
            if alias.startswith(prefix):
                name = f"exists {alias.removeprefix(prefix)}"
                break
        if not names or names[-1] != name:
            names.append(name)
    return " → ".join(names)
