"""Named queries become ASTs that the replicas of one deployment can run."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from changesource.protocol.transforms import Answer, QueryRequest, refused, transformed
from changesource.queries.builder import Ast, Condition, Tables
from changesource.queries.errors import ApplicationError
from changesource.queries.registry import MAX_NAME_LENGTH, Caller, NamedQuery, Registry
from changesource.queries.restriction import Restriction
from changesource.queries.written import WrittenQuery, written_queries
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition

logger = logging.getLogger(__name__)

MAX_HINTS = 3
"""For how many unknown names of a request the nearest name is looked for, which takes 11 ms among 1,000 queries."""

ReplicaTables = Mapping[str, frozenset[str]]
"""Server name of a table → server names of its columns."""


def replica_tables(definition: AppDefinition) -> ReplicaTables:
    """What a replica of `definition` has."""
    return {table.server_name: frozenset(column.server_name for column in table.columns) for table in definition.tables}


@dataclass(frozen=True, slots=True)
class Transformed:
    """The answer to one query. `name` is that of a query of the app, empty if there is none. `outcome` is `ast`, `refused`
    for an error that is meant for the client, or `failed`."""

    answer: Answer
    name: str
    outcome: str
    seconds: float


@dataclass(slots=True)
class _Request:
    """What the queries of one request share. `unknown` counts the names that no query has; `failed` has the numbers under
    which the log has the first failure of each query. Clients choose how many there are of either."""

    caller: Caller
    restricted: Callable[[Ast], Ast]
    unknown: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class Transformer:
    """Answers for one app as one deployment sees it.

    Args:
        definition: the version in force, as far as the deployment sees it. Its names and its rules count.
        replicas: what the replicas have that the deployment may be running. An AST with a table or a column that a replica
            lacks would stop the client group there, with all its queries.
    """

    def __init__(self, definition: AppDefinition, replicas: Iterable[ReplicaTables], registry: Registry) -> None:
        self._app_id = definition.app_id
        self._written = written_queries(definition)
        self._registry = registry
        self._missing = _missing(replica_tables(definition), replicas)
        scope = RuleScope(definition)
        self._tables = Tables(scope)
        self._restriction = Restriction(scope)

    def transform(self, queries: Sequence[QueryRequest], caller: Caller) -> list[Transformed]:
        """An answer to each of `queries`, in their order. What is wrong with one is an error of that one."""
        request = _Request(caller, self._restriction.for_caller(caller.claims))
        return [self._transformed(query, request) for query in queries]

    def _is_everywhere(self, table: str, columns: frozenset[str]) -> bool:
        missing = self._missing.get(table)
        return missing is None or (bool(missing.columns) and not columns & missing.columns)

    def _find(self, name: str, request: _Request) -> NamedQuery | WrittenQuery:
        """Raises `ApplicationError`, with the nearest name for the first `MAX_HINTS` of a request. Clients before Zero 0.25
        write `a|b` for `a.b`."""
        name = name.replace("|", ".")
        of_functions = self._registry.of_app(self._app_id)
        found = self._written.get(name) or of_functions.get(name)
        if found is not None:
            return found
        request.unknown += 1
        is_hinted = request.unknown <= MAX_HINTS and len(name) <= MAX_NAME_LENGTH
        close = get_close_matches(name, [*self._written, *of_functions], n=1) if is_hinted else []
        hint = f". Did you mean {close[0]}?" if close else ""
        raise ApplicationError(f"Query not found: {name[:MAX_NAME_LENGTH]}{hint}")

    def _ast(self, named: NamedQuery | WrittenQuery, argument: Any, request: _Request) -> Ast:
        """The AST of one query, with server names and rules. Raises `ApplicationError`, and what its function raises."""
        query = named.build(self._tables, argument, request.caller)
        ast = request.restricted(query.ast)
        if self._missing and any(not self._is_everywhere(table, columns) for table, columns in names_in(ast)):
            raise ApplicationError(
                "The data for this query is being changed. Ask again in some seconds.",
                details={"type": "NotYetInReplica"},
            )
        return ast

    def _transformed(self, query: QueryRequest, request: _Request) -> Transformed:
        began = time.perf_counter()
        name = ""
        try:
            found = self._find(query.name, request)
            name = found.name
            answer, outcome = transformed(query, self._ast(found, query.argument, request)), "ast"
        except ApplicationError as error:
            answer, outcome = refused(query, error.message, error.details), "refused"
        except Exception:
            # Whatever a query function raises is an error of this query, and none of its text leaves the server.
            error_id = request.failed.get(name)
            if error_id is None:
                error_id = request.failed[name] = uuid.uuid4().hex[:12]
                logger.exception("the query %s of %s failed (error %s)", name, self._app_id, error_id)
            message = f"The query failed. The server's log has the reason under {error_id}."
            answer, outcome = refused(query, message), "failed"
        return Transformed(answer, name, outcome, time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class _MissingColumns:
    """Server names of the columns of a table that some replica lacks. Without any, it lacks the whole table."""

    columns: frozenset[str]


def _missing(wanted: ReplicaTables, replicas: Iterable[ReplicaTables]) -> dict[str, _MissingColumns]:
    """What some of `replicas` lack, by table. Hardly ever is there anything, and then no AST has to be looked at."""
    missing: dict[str, _MissingColumns] = {}
    for replica in replicas:
        for table, columns in wanted.items():
            lacks = columns - replica.get(table, frozenset())
            known = missing.get(table)
            if table not in replica or (known is not None and not known.columns):
                missing[table] = _MissingColumns(frozenset())
            elif lacks:
                missing[table] = _MissingColumns(lacks | (known.columns if known else frozenset()))
    return missing


def names_in(ast: Ast) -> Iterator[tuple[str, frozenset[str]]]:
    """Each table that `ast` reads, with the columns that it names there."""
    columns = {name for name, _ in ast.get("orderBy", ())} | set(ast.get("start", {}).get("row", ()))
    for part in [*_conditions(ast.get("where")), *ast.get("related", ())]:
        step = part.get("related", part) if isinstance(part, dict) else part
        if "correlation" in step:
            columns.update(step["correlation"]["parentField"])
            child = frozenset(step["correlation"]["childField"])
            yield step["subquery"]["table"], child
            yield from names_in(step["subquery"])
        else:
            columns.update(side["name"] for side in (part["left"], part["right"]) if side["type"] == "column")
    yield ast["table"], frozenset(columns)


def _conditions(condition: Condition | None) -> Iterator[Condition]:
    match condition:
        case None:
            return
        case {"conditions": parts}:
            for part in parts:
                yield from _conditions(part)
        case _:
            yield condition
