"""What every request and every WebSocket passes before anything else of the project looks at it, under any ASGI server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from changesource.conf import ChangeSourceSettings
from changesource.limits.addresses import address_of, forwarded_address, network_of
from changesource.limits.bodies import Body, is_too_large
from changesource.limits.buckets import TokenBuckets
from changesource.limits.refusals import Holds, RefusalLog
from changesource.models.client_store import Refused
from changesource.protocol import closing

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_HELD_PER_ADDRESS = 250
"""Refused requests of one address that are held. Each costs some 9 KB with its connection (measured); one that is answered
at once comes back at once, and costs processor time."""


class RefusedBody(Exception):
    """A body was too large, or came too slowly."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Gate:
    """An ASGI application around another one.

    It sets where the project lives (`root_path`, which `path` then begins with) and who asks (`client`) from the
    configuration alone, whatever a caller has written into headers. It counts the requests of each address, and bounds their
    bodies. The handshakes of WebSockets are counted by their consumer, which no routing comes before.

    Args:
        machine_paths: the paths that machines ask for, with the buckets that their requests are counted in, instead of those
            of all other requests: `TokenBuckets(0)` where callers are bounded in another way. With `settings.admin` off,
            nothing but these paths is served.
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
        try:
            await self._application(scope, self._bounded(scope, receive), send)
        except RefusedBody as refused:
            await refuse(send, path, refused.status, "The body is too large, or came too slowly.")

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` with a body's limits. Raises `RefusedBody`, which comes before any answer: Django begins when it has all
        of a body."""
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
            return message

        return receive_bounded


def path_in_project(scope: Scope) -> str:
    """The path without the one that the project lives under, which a proxy may have taken away already."""
    path, root_path = str(scope["path"]), str(scope.get("root_path", ""))
    return path.removeprefix(root_path) if path.startswith(f"{root_path}/") else path


async def refuse_for_now(send: Send, path: str, seconds: int) -> None:
    """429, and when to come back."""
    detail = f"Too many requests. Wait {seconds} seconds, and try again."
    await refuse(send, path, HTTPStatus.TOO_MANY_REQUESTS, detail, [(b"retry-after", str(seconds).encode())])


async def refuse(
    send: Send, path: str, status: HTTPStatus, detail: str, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """In the form in which `path` answers: JSON below /api/, else text. Nothing of the request is repeated."""
    is_api = path.startswith("/api/")
    body = json.dumps({"detail": detail}).encode() if is_api else detail.encode()
    content_type = b"application/json" if is_api else b"text/plain; charset=utf-8"
    start = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": int(status), "headers": start})
    await send({"type": "http.response.body", "body": body})
