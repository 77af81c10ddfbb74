"""Query functions without arguments to call them with: what they would build, with parameters in place of values.

A trace checks the names in a function against a schema before anyone asks, and gives the front end its copy of the query. It
is only possible where the function builds the same query for all arguments: one that branches on a value has to know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from changesource.queries.builder import Ast, Parameter, Tables, UnknownValue
from changesource.queries.errors import ApplicationError
from changesource.queries.registry import Caller, NamedQuery, Registry
from changesource.rules.checks import RuleScope
from changesource.tables.definition import AppDefinition


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of a query function over one schema. `ast` is what it builds, with the names of the schema and with
    `Parameter._value_position` where values will be: anchors are `args`, and `caller` with the paths `user_id` and
    `claims.<claim>`. `problem` is why it cannot work with this schema. Neither is known if the function has to know values:
    `unknown` says which."""

    ast: Ast | None = None
    problem: str = ""
    unknown: str = ""


def trace(named: NamedQuery, tables: Tables) -> Trace:
    """Calls the function of `named` once. What else it raises says nothing about the schema."""
    given: dict[str, Any] = {}
    if named.arguments is not None:
        given["args"] = Parameter("args")
    if named.takes_caller:
        given["caller"] = cast(Caller, Parameter("caller"))
    try:
        return Trace(ast=named.function(tables, **given).ast)
    except UnknownValue as error:
        return Trace(unknown=str(error))
    except ApplicationError as error:
        return Trace(problem=error.message)
    except Exception as error:  # noqa: BLE001 (the function is not ours, and has no values to work with)
        return Trace(unknown=f"It raised {type(error).__name__} for arguments without values.")


def find_trace_problems(app: AppDefinition, registry: Registry) -> Iterator[str]:
    """Why query functions that are declared for `app` could not work with it."""
    tables = Tables(RuleScope(app))
    for named in registry.of_app(app.app_id).values():
        if problem := trace(named, tables).problem:
            yield f"{named.name}, which is {named.function.__module__}.{named.function.__qualname__}: {problem}"
