"""Query functions without arguments to call them with: what they would build, with parameters in place of values.

A trace checks the names in a function against a schema before anyone asks, and gives the front end its copy of the query
(`bodies`). It is only possible where the function builds the same query for all arguments: one that branches on a value has
to know it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from changesource.queries.builder import (
    Ast,
    Parameter,
    ParameterPath,
    ParametersSeen,
    Query,
    Tables,
    UnknownValue,
)
from changesource.queries.errors import ApplicationError
from changesource.queries.registry import Caller, NamedQuery, Registry
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of a query function over one schema. `ast` is what it builds, with the names of the schema and with
    `Parameter._value_position` where values will be: anchors are `args`, and `caller` with the paths `user_id` and
    `claims.<claim>`. `ones` is that of the query. `problem` is why it cannot work with this schema. Neither is known if the
    function has to know values: `unknown` says which. `looked_at` are the parameters that the function came by.

    Python tells nobody when a function asks whether a value is None. So a trace is what the function builds if no parameter
    is None, except for those that were given as `nulls`."""

    ast: Ast | None = None
    ones: frozenset[tuple[str, ...]] = frozenset()
    problem: str = ""
    unknown: str = ""
    looked_at: tuple[ParameterPath, ...] = field(default=(), compare=False)


def trace(named: NamedQuery, tables: Tables, nulls: Collection[ParameterPath] = ()) -> Trace:
    """Calls the function of `named` once. What else it raises says nothing about the schema."""
    seen = ParametersSeen(nulls)
    given: dict[str, Any] = {}
    if named.arguments is not None:
        given["args"] = Parameter("args", seen=seen)
    if named.takes_caller:
        given["caller"] = cast(Caller, Parameter("caller", seen=seen))
    try:
        query = named.function(tables, **given)
        if not isinstance(query, Query):
            return Trace(problem="The function returned no query.", looked_at=tuple(seen.looked_at))
        return Trace(ast=query.ast, ones=query.ones, looked_at=tuple(seen.looked_at))
    except UnknownValue as error:
        return Trace(unknown=str(error), looked_at=tuple(seen.looked_at))
    except ApplicationError as error:
        return Trace(problem=error.message, looked_at=tuple(seen.looked_at))
    except Exception as error:  # noqa: BLE001 (the function is not ours, and has no values to work with)
        return Trace(
            unknown=f"It raised {type(error).__name__} for arguments without values.", looked_at=tuple(seen.looked_at)
        )


def find_trace_problems(app: AppDefinition, registry: Registry) -> Iterator[str]:
    """Why query functions that are declared for `app` could not work with it."""
    tables = Tables(RuleScope(app))
    for named in registry.of_app(app.app_id).values():
        if problem := trace(named, tables).problem:
            yield f"{named.name}, which is {named.function.__module__}.{named.function.__qualname__}: {problem}"
