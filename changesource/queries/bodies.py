"""What a query function builds, as the front end's copy of it needs to know: for all arguments, with parameters in place of
their values.

A trace is one call of the function, in which it gets a parameter for each value. It may have missed something: Python tells
nobody when a function asks `args.limit is None` or `args.kind is Kind.OPEN`, and the model may have changed a value before
the function got it. So what may be None is tried as None as well, and then the body is compared with what the function builds
for examples of arguments and callers. A body that nothing was compared with is not known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from changesource.queries.arguments import Arguments, UnclearArgument
from changesource.queries.builder import Ast, Parameter, ParameterPath, Tables
from changesource.queries.errors import InvalidQuery
from changesource.queries.registry import Caller, NamedQuery
from changesource.queries.tracing import Trace, trace
from changesource.queries.written import WrittenQuery

MAX_BRANCHES: Final = 4
"""On how many values that may be null a body may depend. Each doubles its length."""
MAX_MIXED_CLAIMS: Final = 3
"""For how many claims all combinations of kinds of values are tried."""

_CLAIMS: Final = ("Aa", 3, True, ["Aa"], [3])
"""Examples of claims, of each kind that can be compared with a column."""


@dataclass(frozen=True, slots=True)
class Built:
    """One query: `ast` and `ones` as in a trace."""

    ast: Ast
    ones: frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class IfNull:
    """One query if `parameter` is null, and another one otherwise."""

    parameter: ParameterPath
    null: Body
    otherwise: Body


Body = Built | IfNull


@dataclass(frozen=True, slots=True)
class NoBody:
    """The query works, as far as is known, but its body is not known. `reason` is a sentence. `uncompared` is what a trace
    gave, where nothing could be compared with it."""

    reason: str
    uncompared: Body | None = None


@dataclass(frozen=True, slots=True)
class Unusable:
    """The query does not work with this schema. `reason` is a sentence."""

    reason: str


def body_of(named: NamedQuery | WrittenQuery, tables: Tables) -> Body | NoBody | Unusable:
    """What `named` builds over `tables`, which are those of a written query."""
    if isinstance(named, WrittenQuery):
        return _written_body(named, tables)
    traced = trace(named, tables)
    if traced.ast is None:
        return Unusable(traced.problem) if traced.problem else NoBody(traced.unknown)
    arguments = Arguments.of(named)
    try:
        for anchor, path in traced.looked_at:
            _refuse_unclear(arguments, anchor, path)
        branches = [
            path for path in traced.looked_at if _may_be_null(arguments, path) and _matters(named, tables, traced, path)
        ]
        if len(branches) > MAX_BRANCHES:
            return NoBody(f"It builds other queries if some values are null: {', '.join(map(shown_path, branches))}.")
        body = _grown(named, tables, tuple(branches), ())
        if isinstance(body, NoBody):
            return body
        return _checked(named, tables, arguments, body, traced)
    except UnclearArgument as error:
        return NoBody(str(error))


def _written_body(named: WrittenQuery, tables: Tables) -> Body | Unusable:
    try:
        query = named.trace(tables)
    except InvalidQuery as error:
        return Unusable(error.message)
    return Built(query.ast, query.ones)


def shown_path(path: ParameterPath) -> str:
    """As the function writes it."""
    return ".".join((path[0], *path[1]))


def _refuse_unclear(arguments: Arguments, anchor: str, path: tuple[str, ...]) -> None:
    if anchor == "args":
        arguments.steps(path)
    elif path != ("user_id",) and path[0] != "claims":
        raise UnclearArgument(f"caller.{'.'.join(path)} is not known to clients.")


def _may_be_null(arguments: Arguments, path: ParameterPath) -> bool:
    anchor, names = path
    if anchor == "caller":
        return names == ("user_id",) or len(names) > 1
    step = arguments.steps(names)[-1]
    return (not step.is_required and step.default is None) or arguments.may_be_null(step.schema)


def _matters(named: NamedQuery, tables: Tables, traced: Trace, path: ParameterPath) -> bool:
    """Whether a query with this parameter null is another one than `traced` is with null in its place. What raises an error
    for null does so for the server too, which then answers with an error."""
    with_null = trace(named, tables, [path])
    if with_null.ast is None or traced.ast is None:
        return False
    return (with_null.ast, with_null.ones) != (_replaced(traced.ast, _Nulls(path)), traced.ones)


def _grown(
    named: NamedQuery, tables: Tables, branches: tuple[ParameterPath, ...], nulls: tuple[ParameterPath, ...]
) -> Body | NoBody:
    if not branches:
        traced = trace(named, tables, nulls)
        return NoBody(traced.unknown or traced.problem) if traced.ast is None else Built(traced.ast, traced.ones)
    first, *others = branches
    null = _grown(named, tables, tuple(others), (*nulls, first))
    otherwise = _grown(named, tables, tuple(others), nulls)
    if isinstance(otherwise, NoBody):
        return otherwise
    return otherwise if isinstance(null, NoBody) or null == otherwise else IfNull(first, null, otherwise)


def _checked(
    named: NamedQuery, tables: Tables, arguments: Arguments, body: Body, traced: Trace
) -> Body | NoBody | Unusable:
    is_compared = False
    examples = list(arguments.examples())
    callers = _example_callers(named, tables, examples[0][1], traced) if examples else []
    for member, argument in examples:
        for caller in callers:
            query = _built(named, tables, argument, caller)
            if query is None:
                continue
            is_compared = True
            if query != evaluated(body, arguments, argument, caller):
                what = f"args.{member}" if member else "some values"
                return NoBody(f"What it builds for {what} does not follow from what it builds for others.")
    if is_compared:
        return body
    if not examples:
        reason = "No example of its arguments was found, so nothing shows what it builds. Give their fields examples."
        return NoBody(reason, body)
    reason = (
        "It refuses every example of arguments and callers, so nothing shows what it builds. Give the fields of its "
    )
    return NoBody(f"{reason}arguments examples that it takes.", body)


def _example_callers(named: NamedQuery, tables: Tables, argument: Any, traced: Trace) -> list[Caller]:
    """A user with claims that the function takes, as far as such are found, and a visitor."""
    if not named.takes_caller:
        return [Caller()]
    paths = [path[1:] for anchor, path in traced.looked_at if anchor == "caller" and len(path) > 1]
    paths = [path for path in paths if not any(each != path and each[: len(path)] == path for each in paths)]
    users = [Caller("Aa ", _claims(zip(paths, values, strict=True))) for values in _example_claims(len(paths))]
    taken = (user for user in users if _built(named, tables, argument, user) is not None)
    return [next(taken, users[0]), Caller(None, {})]


def _example_claims(count: int) -> Iterator[tuple[Any, ...]]:
    """Values for so many claims: of all kinds, or of one kind each time if there are many claims."""
    if count <= MAX_MIXED_CLAIMS:
        yield from product(_CLAIMS, repeat=count)
    else:
        yield from ((value,) * count for value in _CLAIMS)


def _claims(values: Iterable[tuple[tuple[str, ...], Any]]) -> dict[str, Any]:
    claims: dict[str, Any] = {}
    for (*outer, last), value in values:
        inner = claims
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return claims


def _built(named: NamedQuery, tables: Tables, argument: Any, caller: Caller) -> Built | None:
    """None if the function refuses these values, which are made up."""
    try:
        query = named.build(tables, argument, caller)
    except Exception:  # noqa: BLE001 (the function is not ours)
        return None
    return Built(query.ast, query.ones)


def evaluated(body: Body, arguments: Arguments, argument: Any, caller: Caller) -> Built:
    """What a client builds by `body` with these values. Raises `UnclearArgument`."""
    values = _Values(arguments, argument, caller)
    while isinstance(body, IfNull):
        body = body.null if values.of(*body.parameter) is None else body.otherwise
    return Built(_replaced(body.ast, values), body.ones)


class _Nulls:
    """None for everything at or below one path."""

    def __init__(self, path: ParameterPath) -> None:
        self._path = path

    def of(self, anchor: str, path: tuple[str, ...]) -> Any:
        within = anchor == self._path[0] and path[: len(self._path[1])] == self._path[1]
        return None if within else Parameter(anchor, path)


class _Values:
    def __init__(self, arguments: Arguments, argument: Any, caller: Caller) -> None:
        self._arguments = arguments
        self._argument = {} if argument is None else argument
        self._caller = caller

    def of(self, anchor: str, path: tuple[str, ...]) -> Any:
        if anchor == "args":
            return self._arguments.value(self._argument, path)
        if path == ("user_id",):
            return self._caller.user_id
        value: Any = self._caller.claims
        for name in path[1:]:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


def _replaced(part: Any, values: _Nulls | _Values) -> Any:
    """`part` of an AST with values in place of parameters."""
    match part:
        case {"type": "parameter", "anchor": anchor, "path": path}:
            value = values.of(anchor, tuple(path))
            return part if isinstance(value, Parameter) else {"type": "literal", "value": value}
        case {"type": "literal", "value": [*members]}:
            return {**part, "value": [_bare(_replaced(each, values)) for each in members]}
        case dict():
            replaced = {key: _replaced(value, values) for key, value in part.items()}
            if isinstance(part.get("limit"), dict):
                replaced["limit"] = _bare(replaced["limit"])
            if "start" in part:
                row = {name: _bare(value) for name, value in replaced["start"]["row"].items()}
                replaced["start"] = {**replaced["start"], "row": row}
            return replaced
        case list():
            return [_replaced(each, values) for each in part]
        case _:
            return part


def _bare(value: Any) -> Any:
    return value["value"] if isinstance(value, dict) and value.get("type") == "literal" else value
