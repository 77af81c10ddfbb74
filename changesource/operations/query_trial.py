"""Trials of named queries: what zero-cache would get for a caller, and what that finds in the first documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from changesource.errors import InvalidClaims, TrialBeyondLimits
from changesource.operations.preview import trial_request
from changesource.protocol.transforms import Answer, QueryRequest
from changesource.publishing.exports.typescript_types import argument_type
from changesource.queries.arguments import Arguments
from changesource.queries.builder import Ast, Query
from changesource.queries.registry import Caller, NamedQuery, Registry, registry
from changesource.queries.transform import Transformer
from changesource.tables.definition import AppDefinition
from changesource.trials.process import TrialAnswer, run_trial

_EVERYBODY: Final = json.dumps({"select": [{}]})
"""Rules that show every row to every caller."""


@dataclass(frozen=True, slots=True)
class AskedQuery:
    """The answer of the endpoint to one query.

    Attributes:
        definition: what the query was asked of.
        ast: with server names and rules, None if the answer is an error.
        open_ast: the same without rules.
        error: what the client gets, `{"message", "details"?}`; None if there is an AST.
    """

    definition: AppDefinition
    caller: Caller
    ast: Ast | None = None
    open_ast: Ast | None = None
    error: Mapping[str, Any] | None = None


def ask_query(definition: AppDefinition, name: str, argument: Any, caller: Caller) -> AskedQuery:
    """The answer to the query `name` for the JSON value `argument`, None for no argument, over a definition without problems:
    what a deployment gets that may have all of it, and whose replica has it.

    A query function is called here, as it is for zero-cache.
    """
    functions = _CalledOnce(registry)
    answer = _answer(functions, definition, name, argument, caller)
    if "ast" not in answer:
        error: dict[str, Any] = {name: answer[name] for name in ("message", "details") if name in answer}
        return AskedQuery(definition, caller, error=error)
    is_open = replace(definition, tables=tuple(replace(each, permissions=_EVERYBODY) for each in definition.tables))
    return AskedQuery(definition, caller, answer["ast"], _answer(functions, is_open, name, argument, caller)["ast"])


class _CalledOnce(Registry):
    """The functions of another registry. Each is called once, and gives that query from then on."""

    def __init__(self, functions: Registry) -> None:
        super().__init__()
        self._functions = functions
        self._of_app: dict[str, Mapping[str, NamedQuery]] = {}

    def of_app(self, app_id: str) -> Mapping[str, NamedQuery]:
        if app_id not in self._of_app:
            named = self._functions.of_app(app_id)
            self._of_app[app_id] = {
                name: replace(each, function=_called_once(each.function)) for name, each in named.items()
            }
        return self._of_app[app_id]


def _called_once(function: Callable[..., Query]) -> Callable[..., Query]:
    built: list[Query] = []

    def first(*args: Any, **kwargs: Any) -> Query:
        if not built:
            built.append(function(*args, **kwargs))
        return built[0]

    return first


def try_query(asked: AskedQuery, limit: int) -> TrialAnswer:
    """What the AST of `asked` finds among the first `limit` documents of each of its tables, and which rules hide other rows;
    see `trials.queries.tried_query`. Raises `UnknownSource`, `SourceUnreachable`, `SourceUnusable`, and what
    `trials.process.run_trial` raises."""
    request = trial_request(asked.definition, "", limit)
    asts = {"ast": asked.ast, "open": asked.open_ast}
    try:
        return run_trial({"trial": "query", **request, **asts, "claims": asked.caller.claims})
    except RecursionError as error:
        raise TrialBeyondLimits("The query is nested too deeply to be tried. Nest fewer conditions.") from error


def caller_with(claims: Mapping[str, Any]) -> Caller:
    """The caller with these claims. `sub` is the user id, and without it the caller is a visitor. Raises `InvalidClaims`."""
    user_id = claims.get("sub")
    if "sub" in claims and (not isinstance(user_id, str) or not user_id):
        raise InvalidClaims("sub is the id of the user: write a text that is not empty, or leave it out for a visitor.")
    return Caller(user_id, claims)


def read_argument(text: str) -> Any:
    """The argument of a query as the endpoint reads it; None for an empty text. Raises `ValueError`, whose message repeats
    nothing of the text."""
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"This is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from None
    except RecursionError:
        raise ValueError("This is nested too deeply.") from None
    except ValueError:  # a number of thousands of digits
        raise ValueError("A number is too long.") from None


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", name, 0)


def query_choices(definition: AppDefinition) -> Iterator[tuple[str, str]]:
    """Name and arguments, as a type of TypeScript, of each query of an app: those that are written first. `definition` may
    have problems."""
    written = definition.queries if isinstance(definition.queries, Mapping) else {}
    for name, source in written.items():
        arguments = source.get("args") if isinstance(source, Mapping) else None
        yield name, json.dumps(arguments, ensure_ascii=False) if arguments else ""
    for name, named in registry.of_app(definition.app_id).items():
        if name not in written:
            arguments_of_function = Arguments.of(named)
            is_taken = arguments_of_function.are_taken
            yield name, argument_type(arguments_of_function, arguments_of_function.schema) if is_taken else ""


def _answer(functions: Registry, definition: AppDefinition, name: str, argument: Any, caller: Caller) -> Answer:
    [transformed] = Transformer(definition, [], functions).transform([QueryRequest("", name, argument)], caller)
    return transformed.answer
