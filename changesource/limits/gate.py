"""The gate that every request and every WebSocket passes before the rest of the project sees it,
under any ASGI server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Any

from changesource.conf import ChangeSourceSettings
from changesource.limits.addresses import address_of, forwarded_address, network_of
from changesource.limits.bodies import Body, is_too_large
from changesource.limits.buckets import TokenBuckets
from changesource.limits.refusals import Holds, RefusalLog
from changesource.models.queries.refusals import Refused
from changesource.protocol import closing

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_HELD_PER_ADDRESS = 250
"""How many refused requests of one address are held. Each costs some 9 KB with its connection
(measured). A client that is answered at once comes back at once, which costs processor time."""

PAGES_AT_ONCE = 8
"""How many requests for pages Django answers at a time. The others wait for a slot. Django gives each
request a thread, and hundreds of threads leave the streams a small share of the processors: with 500
requests, 50 of which had passwords hashed, a revoked stream ended after up to five seconds instead of
one (measured on two processors), and the requests themselves took longer."""


class RefusedBody(Exception):
    """A body was too large, or arrived too slowly."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Gate:
    """An ASGI application that wraps another one.

    It sets where the project lives (`root_path`, with which `path` then begins) and who the client
    is (`client`) from the configuration alone, whatever the headers say. It counts the requests of
    each address, bounds their bodies, and lets few pages be made at a time. The handshakes of WebSockets are counted by their
    consumer, which sees every one of them, as nothing routes before it.

    Args:
        machine_paths: the paths for machines, such as health checks, each with the buckets that
            count its requests in place of the common ones: `TokenBuckets(0)` where callers are
            bounded in another way. With `settings.admin` off, no other path is served.
    """

    def __init__(
        self, application: Application, settings: ChangeSourceSettings, machine_paths: Mapping[str, TokenBuckets]
    ) -> None:
        self._application = application
        self._settings = settings
        self._machine_paths = machine_paths
        self._buckets = TokenBuckets(settings.requests_per_address)
        self._holds = Holds(MAX_HELD_PER_ADDRESS)
        self._refusals = RefusalLog(time.monotonic)
        self._pages = asyncio.Semaphore(PAGES_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        root_path = self._settings.root_path
        path = path_in_project({**scope, "root_path": root_path})
        scope = {**scope, "root_path": root_path, "path": root_path + path if path.startswith("/") else path}
        if self._settings.proxy_headers and (address := forwarded_address(scope["headers"])) is not None:
            scope["client"] = [address, 0]
        if scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._application(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_in_project(scope)
        buckets = self._machine_paths.get(path)
        if buckets is None and not self._settings.admin:
            await refuse(send, path, HTTPStatus.NOT_FOUND, "There is no such page here.")
            return
        address = address_of(scope)
        network = network_of(address)
        if buckets is None:
            buckets = self._buckets
        if not buckets.take(network):
            self._refusals.note(Refused(address, "", 429, closing.TOO_MANY_REQUESTS_OF_ADDRESS))
            await self._holds.hold(address)
            await refuse_for_now(send, path, buckets.seconds_until_free(network))
            return
        async with AsyncExitStack() as slot:
            is_page = buckets is self._buckets
            try:
                await self._application(scope, self._bounded(scope, receive, slot if is_page else None), send)
            except RefusedBody as refused:
                await refuse(send, path, refused.status, "The body is too large, or arrived too slowly.")

    def _bounded(self, scope: Scope, receive: Receive, slot: AsyncExitStack | None) -> Receive:
        """`receive` with the limits of a body. It raises `RefusedBody`, always before any answer:
        Django begins to answer when it has the whole body.

        That is also when a request for a page waits for one of the `PAGES_AT_ONCE`, which it holds
        until `slot` is closed. So a body that trickles in keeps nobody waiting."""
        body = Body(self._settings.handshake_seconds, time.monotonic())
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        is_complete = False

        async def receive_bounded() -> Message:
            nonlocal is_complete
            if is_complete:
                return await receive()
            if any(map(is_too_large, lengths)):
                raise RefusedBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            deadline = body.deadline
            try:
                async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
                    message = await receive()
            except TimeoutError as error:
                raise RefusedBody(HTTPStatus.REQUEST_TIMEOUT) from error
            if not body.take(len(message.get("body", b""))):
                raise RefusedBody(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            is_complete = not message.get("more_body", False)
            if is_complete and slot is not None:
                await slot.enter_async_context(self._pages)
            return message

        return receive_bounded


def path_in_project(scope: Scope) -> str:
    """The path without `root_path`, which a proxy may have removed already."""
    path, root_path = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root_path) if path.startswith(f"{root_path}/") else path


async def refuse_for_now(send: Send, path: str, seconds: int) -> None:
    """Answers 429 and says when to come back."""
    detail = f"Too many requests. Wait {seconds} seconds, and try again."
    await refuse(send, path, HTTPStatus.TOO_MANY_REQUESTS, detail, [(b"retry-after", str(seconds).encode())])


async def refuse(
    send: Send, path: str, status: HTTPStatus, detail: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Answers in the form that `path` has, JSON below /api/ and text elsewhere, and repeats nothing
    of the request."""
    is_api = path.startswith("/api/")
    body = json.dumps({"detail": detail}).encode() if is_api else detail.encode()
    content_type = b"application/json" if is_api else b"text/plain; charset=utf-8"
    start = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": int(status), "headers": start})
    await send({"type": "http.response.body", "body": body})
