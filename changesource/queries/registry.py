"""The query functions of the project, by app and name.

    # shop/queries.py, which is imported when Django starts, as admin.py is
    class Room(BaseModel):
        roomId: str

    @query("messages.byRoom", app="shop")
    def by_room(q: Tables, args: Room, caller: Caller) -> Query:
        return q.message.where("roomId", args.roomId).related("sender").order_by("createdAt", "desc").limit(100)

`args` and `caller` may be left out. A function only builds a query. It is called for each request, in a thread that it shares
with the other queries of its process, and has to give the same query for the same arguments and the same caller.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any, Final, TypeVar, get_type_hints

from pydantic import BaseModel, ValidationError

from changesource.queries.builder import Query, Tables
from changesource.queries.errors import ApplicationError, InvalidQuery
from changesource.tables.definition import AppDefinition

Function = TypeVar("Function", bound=Callable[..., Query])

NAME_PATTERN: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(?:[.][A-Za-z_$][A-Za-z0-9_$]*)*")
"""Names are paths of properties in the object that `defineQueries` takes."""
MAX_NAME_LENGTH: Final = 200
MAX_ISSUES: Final = 10
"""How many things that are wrong with an argument are told. A list can have one for each member."""

_BY_NAME: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


class InvalidDeclaration(Exception):
    """A query function is declared in a way that cannot work. The message names the function and what to change."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The user for whom a query is made. `user_id` is what the app calls the user, None for a visitor who has not logged in.
    `claims` are what rules know as `$auth.<claim>`."""

    user_id: str | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query function. `arguments` is the model of its arguments, None if it takes none."""

    name: str
    app_id: str
    function: Callable[..., Query]
    arguments: type[BaseModel] | None
    takes_caller: bool

    def build(self, tables: Tables, argument: Any, caller: Caller) -> Query:
        """The query for the JSON value `argument`, None for no argument. Raises `ApplicationError`, and whatever the function
        raises."""
        given: dict[str, Any] = {}
        if self.arguments is not None:
            given["args"] = self._validated(self.arguments, argument)
        if self.takes_caller:
            given["caller"] = caller
        query = self.function(tables, **given)
        if not isinstance(query, Query):
            raise InvalidQuery(f"The function of the query {self.name!r} returned no query.")
        return query

    def _validated(self, model: type[BaseModel], argument: Any) -> BaseModel:
        try:
            return model.model_validate({} if argument is None else argument)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            told, more = found[:MAX_ISSUES], len(found) - MAX_ISSUES
            issues = [{"message": each["msg"], "path": list(each["loc"])} for each in told]
            messages = ", ".join(each["msg"] for each in told) + (f", and {more} more" if more > 0 else "")
            # The form of @rocicorp/zero (zql/src/query/validate-input.ts).
            raise ApplicationError(
                f"Validation failed for query {self.name}: {messages}",
                details={"type": "InputValidationError", "result": {"issues": issues}},
            ) from error


class Registry:
    """Query functions by app and name."""

    def __init__(self) -> None:
        self._queries: dict[str, dict[str, NamedQuery]] = {}

    def add(self, query: NamedQuery) -> None:
        """Raises `InvalidDeclaration` if the app has a query of this name, or one whose path leads through it."""
        of_app = self._queries.setdefault(query.app_id, {})
        if (other := of_app.get(query.name)) is not None:
            raise InvalidDeclaration(
                f"{_place(query.function)}: the app {query.app_id!r} has a query {query.name!r} already, in "
                f"{_place(other.function)}. Give one of them another name."
            )
        if (conflict := find_path_conflict([*of_app, query.name])) is not None:
            raise InvalidDeclaration(f"{_place(query.function)}: {path_conflict_message(*conflict)}")
        of_app[query.name] = query

    def of_app(self, app_id: str) -> Mapping[str, NamedQuery]:
        """Name → query, in the order of their declaration."""
        return self._queries.get(app_id, {})

    def apps(self) -> Iterator[str]:
        """The ids of apps for which queries are declared, whether these apps exist or not."""
        yield from self._queries


def find_path_conflict(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of `names` of which the second leads through the first. Names are paths in the object that `defineQueries` takes,
    where one thing cannot be both a query and an object of queries."""
    known = set(names)
    for name in sorted(known):
        parts = name.split(".")
        for length in range(1, len(parts)):
            if (outer := ".".join(parts[:length])) in known:
                return outer, name
    return None


def path_conflict_message(outer: str, inner: str) -> str:
    return f"Names are paths, and so there cannot be both {outer!r} and {inner!r}. Give one of them another name."


registry: Final = Registry()
"""The queries of this process."""


def has_named_queries(definition: AppDefinition) -> bool:
    """Whether an app has named queries, in Python or written with it."""
    return bool(definition.queries or registry.of_app(definition.app_id))


def query(name: str = "", *, app: str, registry: Registry = registry) -> Callable[[Function], Function]:
    """Declares a function as the query `name` of an app. The default is `<module>.<function>`.

    Raises `InvalidDeclaration` when the module is imported.
    """

    def declare(function: Function) -> Function:
        registry.add(_named_query(name or f"{function.__module__}.{function.__name__}", app, function))
        return function

    return declare


def _named_query(name: str, app_id: str, function: Callable[..., Query]) -> NamedQuery:
    place = _place(function)
    if not NAME_PATTERN.fullmatch(name) or len(name) > MAX_NAME_LENGTH or "__proto__" in name.split("."):
        raise InvalidDeclaration(
            f"{place}: {name!r} is not a name for a query. Write words with dots between them, such as messages.byRoom."
        )
    if inspect.iscoroutinefunction(function):
        raise InvalidDeclaration(
            f"{place}: a query function builds a query and waits for nothing. Write def, not async def."
        )
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].kind not in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
        raise InvalidDeclaration(f"{place}: the first parameter is for the tables: def {function.__name__}(q, …).")
    others = parameters[1:]
    for parameter in others:
        if parameter.name not in ("args", "caller") and parameter.default is parameter.empty:
            raise InvalidDeclaration(
                f"{place}: nothing is given for the parameter {parameter.name!r}. Take args and caller."
            )
        if parameter.name in ("args", "caller") and parameter.kind not in _BY_NAME:
            raise InvalidDeclaration(
                f"{place}: args and caller are given by name. Write def {function.__name__}(q, args, caller), with those "
                "of them that it needs."
            )
    names = {parameter.name for parameter in others}
    arguments = _arguments(function, place) if "args" in names else None
    return NamedQuery(name, app_id, function, arguments, "caller" in names)


def _arguments(function: Callable[..., Query], place: str) -> type[BaseModel]:
    try:
        model = get_type_hints(function).get("args")
    except NameError as error:
        raise InvalidDeclaration(
            f"{place}: its annotations name {error.name!r}, which the module does not have when it is imported. Import the "
            "model of args outside of `if TYPE_CHECKING`, and define it outside of functions."
        ) from error
    if not isinstance(model, type) or not issubclass(model, BaseModel):
        raise InvalidDeclaration(f"{place}: annotate args with a subclass of pydantic.BaseModel.")
    return model


def _place(function: Callable[..., Query]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
