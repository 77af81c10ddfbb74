"""What passes the gate, and in which form, under any ASGI server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from changesource.conf import ChangeSourceSettings
from changesource.limits.bodies import MAX_BODY_BYTES
from changesource.limits.buckets import MAX_BUCKETS, TokenBuckets
from changesource.limits.gate import PAGES_AT_ONCE, Gate, path_in_project
from changesource.limits.refusals import LOG_LINES_PER_MINUTE

MESSAGE = {"type": "http.request", "body": b"", "more_body": False}


class Holds:
    """Holds no request, and counts."""

    def __init__(self) -> None:
        self.held: list[str] = []

    async def hold(self, address: str) -> None:
        self.held.append(address)


class Site:
    """A gate, and what has passed it."""

    def __init__(self, settings: ChangeSourceSettings, machine_paths: dict[str, TokenBuckets] | None = None) -> None:
        self.gate = Gate(self._application, settings, machine_paths or {})
        self.holds = self.gate._holds = Holds()  # type: ignore[assignment]
        self.scopes: list[dict[str, Any]] = []
        self.body = b""

    async def _application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] != "http":
            return
        is_complete = False
        while not is_complete:
            message = await receive()
            self.body += message.get("body", b"")
            is_complete = not message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"OK"})

    async def ask(
        self, path: str = "/admin/", *, client: str = "192.0.2.1", messages: Any = (MESSAGE,), **scope: Any
    ) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers and body of the answer."""
        sent: list[dict[str, Any]] = []
        coming: Iterator[dict[str, Any]] = iter(messages)

        async def receive() -> dict[str, Any]:
            try:
                return next(coming)
            except StopIteration:
                await asyncio.Event().wait()
                raise

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        full = {"type": "http", "path": path, "headers": [], "client": [client, 1], "root_path": "/caller's", **scope}
        await self.gate(full, receive, send)
        if not sent:
            return 0, {}, b""
        return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message["body"] for message in sent[1:])


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_the_root_path_comes_from_the_configuration(kind: str) -> None:
    """Whatever the server has set."""
    for root_path in ("", "/zero"):
        site = Site(ChangeSourceSettings(root_path=root_path))
        await site.ask(type=kind)
        assert site.scopes[0]["root_path"] == root_path
        assert site.scopes[0]["path"] == f"{root_path}/admin/"


@pytest.mark.parametrize(("proxy_headers", "client"), [(False, "192.0.2.1"), (True, "203.0.113.9")])
async def test_the_address_comes_from_the_header_only_behind_a_proxy(proxy_headers: bool, client: str) -> None:
    """It is the last one of the header."""
    for kind in ("http", "websocket"):
        site = Site(ChangeSourceSettings(proxy_headers=proxy_headers))
        await site.ask(type=kind, headers=[(b"x-forwarded-for", b"127.0.0.1, 203.0.113.9")])
        assert site.scopes[0]["client"][0] == client


async def test_an_address_that_asks_too_often_waits() -> None:
    """It is held, then told how long to wait. The application sees none of it, and other
    addresses are served."""
    site = Site(ChangeSourceSettings(requests_per_address=2))
    assert [(await site.ask(client=f"2001:db8::{i}"))[0] for i in range(3)] == [200, 200, 429]
    status, headers, body = await site.ask(client="2001:db8::9")
    assert status == 429
    assert 1 <= int(headers[b"retry-after"]) <= 30
    assert body == f"Too many requests. Wait {int(headers[b'retry-after'])} seconds, and try again.".encode()
    assert site.holds.held == ["2001:db8::2", "2001:db8::9"]
    assert len(site.scopes) == 2
    assert (await site.ask(client="192.0.2.2"))[0] == 200


async def test_a_refusal_of_the_api_is_json() -> None:
    """A 429 as well."""
    site = Site(ChangeSourceSettings(requests_per_address=1))
    await site.ask("/api/apps/shop/schema")
    status, headers, body = await site.ask("/api/apps/shop/schema")
    assert (status, headers[b"content-type"]) == (429, b"application/json")
    assert "Wait" in json.loads(body)["detail"]


async def test_machine_paths_have_their_own_buckets() -> None:
    """People and machines do not starve each other. A bucket without a limit exempts a path."""
    site = Site(
        ChangeSourceSettings(requests_per_address=1), {"/healthz": TokenBuckets(1), "/api/zero/query": TokenBuckets(0)}
    )
    assert [(await site.ask())[0] for _ in range(2)] == [200, 429]
    assert [(await site.ask("/healthz"))[0] for _ in range(2)] == [200, 429]
    assert [(await site.ask("/api/zero/query"))[0] for _ in range(50)] == [200] * 50
    assert (await site.ask("/healthz/admin/"))[0] == 429  # not a machine's


class SlowPages:
    """A gate before an application that answers when `finish` is set."""

    def __init__(self) -> None:
        self.finish = asyncio.Event()
        self.running = 0
        machine_paths = {"/healthz": TokenBuckets(0)}
        self.gate = Gate(self._application, ChangeSourceSettings(), machine_paths)

    async def _application(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive()).get("more_body", False):
            pass
        self.running += 1
        try:
            await self.finish.wait()
        finally:
            self.running -= 1

    def ask(self, path: str = "/admin/", *, is_whole: bool = True) -> asyncio.Task[None]:
        """A request. One that is not whole never sends the rest of its body."""
        messages = iter([{"type": "http.request", "body": b"a", "more_body": not is_whole}])

        async def receive() -> dict[str, Any]:
            for message in messages:
                return message
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            pass

        scope = {"type": "http", "path": path, "headers": [], "client": ["192.0.2.1", 1]}
        return asyncio.create_task(self.gate(scope, receive, send))

    async def settle(self) -> int:
        """How many requests the application answers once nothing moves any more."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.running


async def test_few_pages_are_made_at_a_time() -> None:
    """Others wait, in their order. Machines do not wait for pages, and take no slot from them."""
    site = SlowPages()
    machines = [site.ask("/healthz") for _ in range(PAGES_AT_ONCE + 1)]
    assert await site.settle() == PAGES_AT_ONCE + 1
    pages = [site.ask() for _ in range(3 * PAGES_AT_ONCE)]
    assert await site.settle() == 2 * PAGES_AT_ONCE + 1
    machines.append(site.ask("/healthz"))
    assert await site.settle() == 2 * PAGES_AT_ONCE + 2
    site.finish.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*machines, *pages)


async def test_a_page_whose_request_ends_gives_its_slot_back() -> None:
    """Cancelled while it waits, or while it is made."""
    site = SlowPages()
    for _ in range(3):
        pages = [site.ask() for _ in range(2 * PAGES_AT_ONCE)]
        assert await site.settle() == PAGES_AT_ONCE
        for page in reversed(pages):
            page.cancel()
        await asyncio.gather(*pages, return_exceptions=True)
    pages = [site.ask() for _ in range(2 * PAGES_AT_ONCE)]
    site.finish.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*pages)


async def test_bodies_that_trickle_in_hold_no_slot() -> None:
    """Any number of them."""
    site = SlowPages()
    trickling = [site.ask(is_whole=False) for _ in range(PAGES_AT_ONCE)]
    assert await site.settle() == 0
    site.ask()
    assert await site.settle() == 1
    for request in trickling:
        request.cancel()
    site.finish.set()


async def test_without_admin_only_machine_paths_and_websockets_are_served() -> None:
    """Other paths are not found."""
    site = Site(ChangeSourceSettings(admin=False), {"/healthz": TokenBuckets(0)})
    for path in ("/", "/admin/", "/admin/login/", "/static/admin/css/base.css", "/api/apps/x/schema", "/healthz/"):
        assert (await site.ask(path))[0] == 404
    assert site.scopes == []
    assert (await site.ask("/healthz"))[0] == 200
    await site.ask(type="websocket", path="/changes/v0/stream")
    assert len(site.scopes) == 2


@pytest.mark.parametrize("root_path", ["", "/zero"])
async def test_machine_paths_may_be_below_the_root_path(root_path: str) -> None:
    """Even if a proxy removes the root path."""
    site = Site(ChangeSourceSettings(admin=False, root_path=root_path), {"/healthz": TokenBuckets(0)})
    assert (await site.ask("/healthz"))[0] == 200
    assert (await site.ask(f"{root_path}/healthz"))[0] == 200
    assert (await site.ask("/zeroes/healthz"))[0] == 404


def test_only_whole_segments_are_removed_from_a_path() -> None:
    """`/zero` is not the root path of `/zeroes`."""
    assert path_in_project({"path": "/zero/a", "root_path": "/zero"}) == "/a"
    assert path_in_project({"path": "/zeroes/a", "root_path": "/zero"}) == "/zeroes/a"
    assert path_in_project({"path": "*", "root_path": ""}) == "*"
    assert path_in_project({"path": "/a"}) == "/a"


async def test_a_body_passes_unchanged() -> None:
    """Up to the largest."""
    site = Site(ChangeSourceSettings())
    parts = [{"type": "http.request", "body": b"x" * 2**20, "more_body": more} for more in (True, True, False)]
    assert (await site.ask(messages=parts))[0] == 200
    assert site.body == b"x" * MAX_BODY_BYTES


async def test_a_body_that_is_too_large_is_refused() -> None:
    """With 413: unread if its length is announced, otherwise as soon as it is too large."""
    site = Site(ChangeSourceSettings())
    announced = [(b"content-length", b"3145729")]
    assert (await site.ask(headers=announced, messages=()))[0] == 413
    part = {"type": "http.request", "body": b"x" * 2**20, "more_body": True}
    assert (await site.ask(messages=[part] * 4))[0] == 413


async def test_a_body_that_arrives_too_slowly_is_refused() -> None:
    """With 408: nothing arrives, or a byte every now and then."""
    site = Site(ChangeSourceSettings(handshake_seconds=0.05))
    part = {"type": "http.request", "body": b"x", "more_body": True}
    async with asyncio.timeout(0.8):
        assert (await site.ask(messages=()))[0] == 408
        assert (await site.ask(messages=[part] * 3))[0] == 408


async def test_waiting_for_the_end_of_a_connection_has_no_deadline() -> None:
    """That is what is received after the body."""
    ended = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        ended.set()

    async def receive() -> dict[str, Any]:
        if not is_first:
            await asyncio.sleep(0.2)  # longer than a body may take
            return {"type": "http.disconnect"}
        is_first.clear()
        return MESSAGE

    is_first = [True]
    gate = Gate(application, ChangeSourceSettings(handshake_seconds=0.05), {})
    await gate({"type": "http", "path": "/", "headers": [], "client": None}, receive, receive)  # type: ignore[arg-type]
    assert ended.is_set()


async def test_a_lifespan_passes_unchanged() -> None:
    """Servers other than Daphne use it."""
    site = Site(ChangeSourceSettings(admin=False))
    await site.gate({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert site.scopes == [{"type": "lifespan"}]


async def test_a_flood_from_many_addresses_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """In what is remembered and in what is logged."""
    site = Site(ChangeSourceSettings(requests_per_address=1))
    for i in range(MAX_BUCKETS + 1_000):
        for _ in range(2):
            await site.ask(client=f"10.0.{i // 256}.{i % 256}")
    assert len(site.gate._buckets) == MAX_BUCKETS
    assert len(caplog.records) < 2 * LOG_LINES_PER_MINUTE
