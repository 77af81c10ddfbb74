"""Bodies of requests for named queries."""

from __future__ import annotations

import json

from pydantic import BaseModel

from changesource.errors import InvalidTransform
from changesource.protocol.transforms import parse_transform, query_response, transform_failed
from changesource.queries import Caller, Query, Tables, query
from changesource.queries.registry import Registry
from changesource.queries.transform import Transformer, replica_tables
from changesource.tables.definition import AppDefinition, Column, Table
from tests.fuzzing.bounds import in_time

COLUMNS = tuple(
    Column(name, kind, optional=True)
    for name, kind in (("_id", "string"), ("n", "number"), ("done", "boolean"), ("data", "json"))
)
APP = AppDefinition(
    "shop",
    "default",
    (Table("item", COLUMNS, ("_id",), permissions='{"select": [{"_id": "$auth.sub"}, {"n": {"$gt": 1}}]}'),),
    queries={
        "written": {
            "args": {"id": "string?", "ns": "number[]?", "done": "boolean?"},
            "table": "item",
            "where": {"_id": "$args.id", "n": {"$in": "$args.ns"}, "done": {"$ne": "$args.done"}},
        }
    },
)
REGISTRY = Registry()
REPLICA = replica_tables(APP)


class Comparison(BaseModel):
    column: str = "_id"
    operator: str = "="
    value: object = None
    limit: object = 1
    start: dict[str, object] | None = None


@query("built", app="shop", registry=REGISTRY)
def built(q: Tables, args: Comparison) -> Query:
    found = q.item.where(args.column, args.operator, args.value).limit(args.limit)  # type: ignore[arg-type]
    return found if args.start is None else found.start(args.start)


TRANSFORMER = Transformer(APP, [REPLICA], REGISTRY)


def check(data: bytes) -> None:
    """The body is refused with a short reason, or each query has an answer that is JSON: an AST that names only
    what the replica has and compares only with values, or an error. None of them is a failure."""
    with in_time():
        try:
            requests = parse_transform(data)
        except InvalidTransform as error:
            assert len(error.args[0]) < 200
            assert json.loads(transform_failed(error))["kind"] == "TransformFailed"
            return
        transformed = TRANSFORMER.transform(requests, Caller("ada", {"sub": "ada"}))
        answer = json.loads(query_response("ada", [each.answer for each in transformed]))
        assert [each["id"] for each in answer["queries"]] == [request.id for request in requests]
        for each, shown in zip(transformed, answer["queries"], strict=True):
            assert each.outcome in ("ast", "refused")
            if each.outcome == "ast":
                check_values(shown["ast"]["where"])


def check_values(condition: dict[str, object]) -> None:
    """Every literal is a scalar, or a list of them."""
    for part in condition.get("conditions", ()):  # type: ignore[attr-defined]
        check_values(part)
    for side in ("left", "right"):
        literal = condition.get(side, {})
        values = literal.get("value") if literal.get("type") == "literal" else None  # type: ignore[attr-defined]
        for value in values if isinstance(values, list) else [values]:
            assert value is None or isinstance(value, str | int | float | bool)
