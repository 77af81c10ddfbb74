"""query_trial.py: a query that is tried has the answer that the endpoint gives."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from changesource.errors import InvalidClaims
from changesource.models import App, Client
from changesource.models.queries.access import ClientInApp, begin_access
from changesource.models.queries.clients import Identity
from changesource.operations.named_queries import Deployment, answer_queries
from changesource.operations.query_trial import ask_query, caller_with, read_argument
from changesource.protocol.transforms import QueryRequest, parse_transform
from changesource.queries import Caller
from tests.models.builders import build_app, build_table, publish

QUERIES = {
    "cities.named": {
        "args": {"names": "string[]", "least": "string?"},
        "table": "city",
        "where": {"name": {"$in": "$args.names", "$gte": "$args.least"}},
        "related": [{"relationship": "visits", "limit": 3}],
        "orderBy": [["name", "desc"]],
    },
    "cities.visited": {"table": "city", "where": {"$exists": {"relationship": "visits"}}, "one": True},
}
ARGUMENTS = [None, {}, {"names": ["a"]}, {"names": ["a"], "least": "b"}, {"names": "a"}, {"names": [None]}, [], "a"]
CLAIMS: list[dict[str, Any]] = [{}, {"sub": "ada"}, {"sub": "ada", "city": ["x"]}]


@pytest.fixture
def app() -> App:
    app = build_app()
    app.tables.update(permissions='{"select": [{"name": "$auth.sub"}, {"_id": {"$in": "$auth.city"}}]}')
    build_table(app, "visit", {"_id": {}, "cityId": {}}, permissions='{"select": [{}]}')
    connection = {"sourceField": ["_id"], "destField": ["cityId"], "destSchema": "visit", "cardinality": "many"}
    app.relationships = {"city": {"visits": [connection]}}
    app.queries = QUERIES
    app.save()
    return app


@pytest.mark.django_db(transaction=True)
def test_a_query_that_is_tried_is_answered_as_by_the_endpoint(app: App, settings: Any) -> None:
    """An AST, or the error, for every caller and every argument."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}
    version = publish(app)
    client = Client.objects.create_for_apps("cache", [app])
    credential, _ = client.credentials.model.objects.issue(client)
    begin_access.blocking(ClientInApp(client.pk, "shop"))
    deployment = Deployment(Identity(client.pk, "cache", credential.pk), "shop", 0)
    answered = set()
    for caller in map(caller_with, CLAIMS):
        asked = [(name, argument) for name in (*QUERIES, "cities.name", "cities|visited") for argument in ARGUMENTS]
        for name, argument in asked:
            [answer] = answer_queries(deployment, [QueryRequest("1", name, argument)], caller, time.monotonic())
            tried = ask_query(version.to_definition(), name, argument, caller)
            assert tried.ast == answer.get("ast")
            assert tried.error == ({key: answer[key] for key in ("message", "details") if key in answer} or None)
            answered.add("ast" in answer)
    assert answered == {True, False}


@pytest.mark.parametrize("text", ['{"a": [1, -0.5, 1e3]}', "null", '"\\u0000\\ud800"', "1e999", '{"a": 1, "a": 2}'])
def test_an_argument_is_read_as_by_the_endpoint(text: str) -> None:
    """Whatever can be JSON."""
    [request] = parse_transform(f'["transform", [{{"id": "", "name": "", "args": [{text}]}}]]'.encode())
    assert repr(read_argument(text)) == repr(request.argument)


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_no_argument(text: str) -> None:
    assert read_argument(text) is None


@pytest.mark.parametrize("text", ["{", '{"secret": NaN}', "[" * 100_000, "1" * 5_000, '"secret'])
def test_what_is_not_json_is_refused(text: str) -> None:
    """And nothing of it is repeated."""
    with pytest.raises(ValueError, match=r"\.$") as caught:
        read_argument(text)
    assert "secret" not in str(caught.value)


def test_a_caller_without_sub_is_a_visitor() -> None:
    assert caller_with({}) == Caller()
    assert caller_with({"role": "guest"}) == Caller(None, {"role": "guest"})
    assert caller_with({"sub": "ada"}).user_id == "ada"
    for claims in ('{"sub": ""}', '{"sub": null}', '{"sub": 5}', '{"sub": ["a"]}'):
        with pytest.raises(InvalidClaims):
            caller_with(json.loads(claims))
