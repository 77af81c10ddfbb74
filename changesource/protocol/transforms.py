"""The request in which zero-cache asks for the ASTs of named queries, and its answer, as JSON.

`["transform", [{"id", "name", "args"}, …]]` → `{"kind": "QueryResponse", "userID", "queries": [{"id", "name", "ast"} |
{"error": "app", "id", "name", "message", "details"?}, …]}`, or `{"kind": "TransformFailed", …}` for all of them (Zero:
zero-protocol/custom-queries.ts, query-server.ts and error.ts).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from changesource.errors import InvalidTransform

MAX_QUERIES: Final = 1_000
"""The limit of one request, which the queries of one client group make up."""

KEPT_SECONDS: Final = 6.0
"""How long zero-cache may go on with an answer instead of asking again: 5 seconds, and one more (Zero:
custom-queries/transform-query.ts). By then it has asked for whatever it has to know, if it is made to ask."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One named query. `id` is opaque. `argument` is None if there is none."""

    id: str
    name: str
    argument: Any


def parse_transform(body: bytes) -> tuple[QueryRequest, ...]:
    """The queries of a request. Raises `InvalidTransform`, which names the place and repeats nothing of the body."""
    try:
        message = json.loads(body, parse_constant=_refuse_constant)
    except ValueError as error:
        raise InvalidTransform("The body is not JSON.") from error
    except RecursionError as error:
        raise InvalidTransform("The body is nested too deeply.") from error
    match message:
        case ["transform", list() as members]:
            pass
        case _:
            raise InvalidTransform('The body is not ["transform", […]].')
    if len(members) > MAX_QUERIES:
        raise InvalidTransform(f"The body has more than {MAX_QUERIES} queries.", tuple(_ids(members)))
    queries = []
    for index, member in enumerate(members):
        match member:
            case {"id": str() as id, "name": str() as name, "args": list() as args}:
                queries.append(QueryRequest(id, name, args[0] if args else None))
            case _:
                raise InvalidTransform(
                    f"Query {index} has no id, name or args, or one of another type.", tuple(_ids(members))
                )
    return tuple(queries)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _ids(members: Sequence[Any]) -> Iterator[str]:
    for member in members:
        if isinstance(member, dict) and isinstance(member.get("id"), str):
            yield member["id"]


def transformed(query: QueryRequest, ast: Answer) -> Answer:
    return {"id": query.id, "name": query.name, "ast": ast}


def refused(query: QueryRequest, message: str, details: Any = None) -> Answer:
    """An error of one query, which the client gets. The others go on."""
    answer = {"error": "app", "id": query.id, "name": query.name, "message": message}
    return answer if details is None else {**answer, "details": details}


def query_response(user_id: str | None, answers: Sequence[Answer]) -> bytes:
    """The whole answer. zero-cache compares `user_id` with the user that the client says it is."""
    return json.dumps({"kind": "QueryResponse", "userID": user_id, "queries": answers}, allow_nan=False).encode()


def transform_failed(error: InvalidTransform) -> bytes:
    """The answer to a request that could not be read. The connection of the client ends with it."""
    return json.dumps(
        {
            "kind": "TransformFailed",
            "origin": "server",
            "reason": "parse",
            "message": f"Failed to parse the query request: {error.args[0]}",
            "queryIDs": list(error.query_ids),
        }
    ).encode()
