"""`POST /api/zero/query`: who may ask, and what the answer says."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from django.db import OperationalError
from django.http import HttpRequest
from django.test import AsyncClient
from django.test.client import AsyncClientHandler

from changesource.api import zero
from changesource.api.query_handler import QueryHandler
from changesource.asgi import make_application
from changesource.conf import load_settings
from changesource.limits.limits import Limits
from changesource.models import App, Client
from changesource.protocol.transforms import MAX_QUERIES
from changesource.queries import Caller
from changesource.queries.restriction import NO_ROW
from tests.authentication.issuer import AUDIENCE, ISSUER, SECRET
from tests.models.builders import build_app, publish, set_grant
from tests.node.client import signed_token

pytestmark = pytest.mark.django_db(transaction=True)

ADDRESS = "/api/zero/query?schema=shop_0&appID=shop"
TRANSFORM = ["transform", [{"id": "q1", "name": "cities", "args": []}]]


class Service:
    """What the view needs of the running service."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.limits = Limits(settings)
        self.held: list[str] = []
        self.limits.held_queries.hold = self._hold  # type: ignore[method-assign]

    async def _hold(self, address: str) -> None:
        self.held.append(address)


@pytest.fixture(autouse=True)
def service(settings, monkeypatch: pytest.MonkeyPatch) -> Service:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}
    user_jwt = {"secret": SECRET, "issuer": ISSUER, "audience": AUDIENCE}
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "user_jwt": user_jwt}
    service = Service(load_settings())

    async def running() -> Service:
        return service

    monkeypatch.setattr(zero, "running_service", running)
    return service


@pytest.fixture
def app() -> App:
    app = build_app()
    app.tables.update(permissions='{"select": [{"name": "$auth.sub"}]}')
    app.queries = {"cities": {"table": "city"}}
    app.save()
    publish(app)
    return app


@pytest.fixture
def token(app: App) -> str:
    client = Client.objects.create_for_apps("cache", [app])
    return client.credentials.model.objects.issue(client)[1]


class WithoutMiddleware(AsyncClientHandler):
    load_middleware = QueryHandler.load_middleware


def zero_cache(*, with_middleware: bool = False) -> AsyncClient:
    """A client whose requests are handled as those of zero-cache; or as those of browsers, as in a project that has the route
    elsewhere."""
    client = AsyncClient(enforce_csrf_checks=True)
    if not with_middleware:
        client.handler = WithoutMiddleware()
    return client


async def ask(
    body: Any = TRANSFORM, *, key: str = "", address: str = ADDRESS, method: str = "post", **headers: str
) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"X-Api-Key": key, **{name.replace("_", "-"): value for name, value in headers.items()}}
    response = await zero_cache().generic(
        method.upper(), address, content, "application/json", headers={n: v for n, v in given.items() if v}
    )
    assert "Location" not in response.headers  # zero-cache would follow it with a GET
    return response.status_code, json.loads(response.content or b"null")


async def test_the_answer_is_for_the_user_of_the_token(token: str) -> None:
    """A visitor is null, and sees what rules show to those who have no claims."""
    user_token = signed_token(SECRET, "ada", iss=ISSUER, aud=AUDIENCE)
    status, answer = await ask(key=token, Authorization=f"Bearer {user_token}")
    assert (status, answer["kind"], answer["userID"]) == (200, "QueryResponse", "ada")
    assert answer["queries"][0]["ast"]["where"]["right"]["value"] == "ada"
    status, answer = await ask(key=token)
    assert (status, answer["userID"]) == (200, None)
    assert answer["queries"][0]["ast"]["where"] == NO_ROW


async def test_an_empty_list_has_an_empty_answer(token: str) -> None:
    """With which zero-cache validates the user of each connection."""
    assert await ask(["transform", []], key=token) == (200, {"kind": "QueryResponse", "userID": None, "queries": []})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"key": "wrong"},
        {"key": "x" * 10_000},
        {"key": "a.b.c"},
        {"key": "wrong\ud800".encode("utf-8", "replace").decode()},
    ],
    ids=["none", "wrong", "long", "jwt", "other"],
)
async def test_without_a_valid_key_nothing_is_answered(service: Service, token: str, headers: dict[str, str]) -> None:
    """After a while, and without a reason."""
    status, answer = await ask(**headers)
    assert status == 401
    assert answer == {"detail": "The credentials of this request do not allow it. The server's log has the reason."}
    assert len(service.held) == 1


async def test_a_token_of_a_user_is_no_key_and_a_key_is_no_user(service: Service, token: str) -> None:
    user_token = signed_token(SECRET, "cache", iss=ISSUER, aud=AUDIENCE)
    assert (await ask(key=user_token))[0] == 401
    assert (await ask(key=token, Authorization=f"Bearer {token}"))[0] == 401
    assert (await ask(Authorization=f"Bearer {token}"))[0] == 401


@pytest.mark.parametrize("how", ["wrong secret", "expired", "other audience", "no user", "not a token"])
async def test_a_user_who_proves_nothing_is_not_taken_for_a_visitor(token: str, how: str) -> None:
    claims: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE}
    secret, user = SECRET, "ada"
    match how:
        case "wrong secret":
            secret = "another secret of thirty-two bytes or more"
        case "expired":
            claims["exp"] = 1
        case "other audience":
            claims["aud"] = "https://other.example.com"
        case "no user":
            user = ""
    presented = "nonsense" if how == "not a token" else signed_token(secret, user, **claims)
    assert (await ask(key=token, Authorization=f"Bearer {presented}"))[0] == 401


@pytest.mark.parametrize("with_middleware", [False, True])
async def test_a_session_needs_a_trusted_origin(token: str, with_middleware: bool) -> None:
    """A page of another site would send the cookie too."""
    from django.contrib.auth.models import User

    user = await User.objects.acreate(username="ada")
    client = zero_cache(with_middleware=with_middleware)
    await client.aforce_login(user)
    body = json.dumps(TRANSFORM)

    async def status_of(**headers: str) -> int:
        response = await client.post(ADDRESS, body, "application/json", headers={"X-Api-Key": token, **headers})
        return int(response.status_code)

    assert await status_of() == 401
    assert await status_of(Origin="https://evil.example.com") == 401
    assert await status_of(Origin="null") == 401
    assert await status_of(Origin="http://testserver") == 200


@pytest.mark.parametrize("change", ["app", "shard", "grant", "missing"])
async def test_a_deployment_gets_its_own_app_and_shard_only(app: App, token: str, change: str) -> None:
    """403 is for who runs zero-cache."""
    address = ADDRESS
    if change == "app":
        address = "/api/zero/query?schema=other_0&appID=other"
    elif change == "missing":
        address = "/api/zero/query"
    elif change == "shard":
        await _set_grant(shards="3")
    else:
        await Client.objects.filter(name="cache").aupdate(is_active=True)
        await _delete_grants()
    assert (await ask(key=token, address=address))[0] == 403


async def _set_grant(**values: Any) -> None:
    from asgiref.sync import sync_to_async

    await sync_to_async(lambda: set_grant(Client.objects.get(), **values))()


async def _delete_grants() -> None:
    client = await Client.objects.aget()
    await client.grants.all().adelete()


@pytest.mark.parametrize(
    ("body", "query_ids"),
    [
        (b"", []),
        (b"nonsense", []),
        (b"\xff\xfe", []),
        (b"[" * 100_000, []),
        (b"null", []),
        ({}, []),
        (["transform"], []),
        (["transform", {}], []),
        (["push", []], []),
        (["transform", [], 1], []),
        (["transform", [{"id": "a", "name": "b", "args": []}, {"id": "c"}]], ["a", "c"]),
        (["transform", [{"id": 1, "name": "b", "args": []}]], []),
        (["transform", [{"id": "a", "name": None, "args": []}]], ["a"]),
        (["transform", [{"id": "a", "name": "b", "args": {}}]], ["a"]),
        (["transform", [{"id": str(i), "name": "cities", "args": []} for i in range(MAX_QUERIES + 1)]], None),
    ],
)
async def test_what_is_not_a_request_fails_as_a_whole(token: str, body: Any, query_ids: list[str] | None) -> None:
    """With 200, as zero-cache tries nothing again that has another status below 500. The ids that can be read are named."""
    status, answer = await ask(body, key=token)
    assert (status, answer["kind"], answer["origin"], answer["reason"]) == (200, "TransformFailed", "server", "parse")
    assert answer["queryIDs"] == query_ids if query_ids is not None else len(answer["queryIDs"]) == MAX_QUERIES + 1


async def test_a_body_that_is_too_large_fails_as_a_whole(settings, token: str) -> None:
    """Django's limit. Beyond 3 MiB, no request gets here."""
    body = json.dumps(
        ["transform", [{"id": "1", "name": "cities", "args": ["x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE]}]]
    )
    status, answer = await ask(body.encode(), key=token)
    assert (status, answer["kind"], answer["queryIDs"]) == (200, "TransformFailed", [])


async def test_one_bad_query_leaves_the_others_alone(token: str) -> None:
    queries = [
        {"id": "1", "name": "cities", "args": []},
        {"id": "2", "name": "__proto__", "args": []},
        {"id": "3", "name": "\ud800", "args": ["\udfff", 1e400]},
        {"id": "4", "name": "cities", "args": [{"$where": "1"}, None]},
        {"id": "5", "name": "cities|", "args": [None]},
        {"id": "6", "name": "n" * 100_000, "args": []},
    ]
    body = json.dumps(["transform", queries]).replace("Infinity", "1e400").encode()
    status, answer = await ask(body, key=token)
    assert status == 200
    assert [("ast" in each, each["id"]) for each in answer["queries"]] == [
        (True, "1"), (False, "2"), (False, "3"), (True, "4"), (False, "5"), (False, "6"),
    ]  # fmt: skip
    assert all(len(each.get("message", "")) < 400 for each in answer["queries"])


@pytest.mark.parametrize("method", ["get", "put", "delete", "options", "head"])
async def test_only_posts_are_answered(token: str, method: str) -> None:
    for client in (zero_cache(), zero_cache(with_middleware=True)):
        response = await client.generic(method.upper(), ADDRESS, headers={"X-Api-Key": token})
        assert response.status_code == 405


async def test_requests_are_answered_one_at_a_time(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that streams get their share of the process."""
    answered: list[str] = []

    async def answer(*_: Any) -> bytes:
        answered.append("begins")
        await asyncio.sleep(0)
        answered.append("ends")
        return b"null"

    monkeypatch.setattr(zero, "answer_request", answer)
    await asyncio.gather(*(ask(key=token) for _ in range(3)))
    assert answered == ["begins", "ends"] * 3


async def test_a_request_that_is_held_keeps_no_other_waiting(service: Service, token: str) -> None:
    """Whoever presents wrong keys would hold up everybody."""
    may_end = asyncio.Event()

    async def hold(address: str) -> None:
        await may_end.wait()

    service.limits.holds.hold = hold  # type: ignore[method-assign]
    held = asyncio.create_task(ask(key="wrong"))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert (await ask(key=token))[0] == 200
    may_end.set()
    assert (await held)[0] == 401


async def test_a_host_that_is_not_allowed_is_refused(token: str) -> None:
    response = await zero_cache().post(
        ADDRESS, json.dumps(TRANSFORM), "application/json", headers={"X-Api-Key": token, "Host": "evil.example.com"}
    )
    assert response.status_code == 400
    assert b"ast" not in response.content


async def test_browsers_do_not_guess_what_an_answer_is(token: str) -> None:
    response = await zero_cache().post(ADDRESS, json.dumps(TRANSFORM), "application/json", headers={"X-Api-Key": token})
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("root_path", "path", "is_query"),
    [
        ("", "/api/zero/query", True),
        ("/zero", "/zero/api/zero/query", True),
        ("/zero", "/api/zero/query", True),
        ("", "/api/zero/query/", False),
        ("", "/zero/api/zero/query", False),
        ("", "/admin/", False),
    ],
)
async def test_what_zero_cache_asks_does_not_pass_the_middleware_of_pages(
    settings, root_path: str, path: str, is_query: bool
) -> None:
    """All else does."""
    handled: list[str] = []

    async def django(scope: Any, receive: Any, send: Any) -> None:
        handled.append(scope["path"])

    application = make_application(django, replace(load_settings(), root_path=root_path))
    assert await status_of(application, "GET", path) == (405 if is_query else None)
    assert (handled == []) == is_query


async def test_requests_that_wait_have_no_threads(
    service: Service, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of threads would leave the streams a small share of the process."""
    may_end = asyncio.Event()
    waiting: list[HttpRequest] = []

    async def answer(*_: Any) -> bytes:
        await may_end.wait()
        return b"null"

    async def caller_of(request: HttpRequest, settings: Any) -> Caller:
        waiting.append(request)
        return Caller()

    monkeypatch.setattr(zero, "answer_request", answer)
    monkeypatch.setattr(zero, "caller_of", caller_of)
    path, query_string = ADDRESS.split("?")
    handler = QueryHandler()
    before = threading.active_count()
    asking = [
        asyncio.create_task(status_of(handler, "POST", path, query_string.encode(), x_api_key=token)) for _ in range(20)
    ]
    async with asyncio.timeout(30):
        while len(waiting) < len(asking):
            await asyncio.sleep(0.01)
    assert threading.active_count() <= before + 3  # for tokens, and for what Django does at the begin of a request
    may_end.set()
    assert await asyncio.gather(*asking) == [200] * len(asking)


async def status_of(application: Any, method: str, path: str, query_string: bytes = b"", **headers: str) -> int | None:
    """The status with which an ASGI application answers."""
    messages = [{"type": "http.request", "body": json.dumps(TRANSFORM).encode()}]
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop()

    async def send(message: dict[str, Any]) -> None:
        if "status" in message:
            statuses.append(message["status"])

    given = {"host": "testserver", **headers}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query_string,
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()],
        "client": ["::1", 1],
    }
    await application(scope, receive, send)
    return statuses[0] if statuses else None


async def test_a_database_that_does_not_answer_makes_zero_cache_try_again(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise OperationalError("secret of the database")

    monkeypatch.setattr(zero, "answer_request", fail)
    status, answer = await ask(key=token)
    assert status == 503
    assert "secret" not in answer["detail"]
