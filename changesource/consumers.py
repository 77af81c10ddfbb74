"""The WebSocket of Zero's change source protocol. A stream runs in a task of its own; handlers only
pass messages on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.db import Error as DatabaseError

from changesource.asgi_extensions import DENIAL_RESPONSE, SEND_FRAMES
from changesource.authentication.tokens import authenticate
from changesource.errors import InvalidRequest, TokenRefused, TooManyStreams
from changesource.limits.addresses import address_of, network_of
from changesource.limits.gate import path_in_project
from changesource.limits.limits import Limits
from changesource.models.queries.clients import Identity
from changesource.models.queries.refusals import Refused
from changesource.protocol import closing
from changesource.protocol.closing import Closing
from changesource.protocol.requests import StreamRequest, find_token, parse_stream_request
from changesource.service import StreamService, running_service
from changesource.sessions.session import Session
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)

STREAM_PATH = "/changes/v0/stream"
"""Where zero-cache connects. The consumer gets the WebSockets of all paths, so that each is counted
before its path is looked at."""
CLOSE_SECONDS = 2.0
"""How long a server may take to accept a close: servers other than ours wait for a client that
reads nothing."""


class _ClientGone(Exception):
    """A server other than ours reports that the client has gone; its `websocket.disconnect`
    follows."""


class ChangeStreamConsumer(AsyncConsumer):
    """One connection. It uses no channel of the channel layer, so it can begin while Redis is
    away."""

    channel_layer_alias = "none"
    _session: Session | None = None
    _ending: asyncio.Task[None] | None = None
    _is_closed = False

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Calls the handler without Channels' visit to a thread for each message, which cleans up
        database connections: handlers here use none, and acknowledgements come by the hundred."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    def end(self, how: Closing) -> None:
        """Ends the session at any point, even while it sends, and closes the connection. Only the
        first call counts."""
        if self._ending is None and not self._is_closed:
            self._ending = asyncio.create_task(self._end(how))

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        self._slot = AsyncExitStack()
        self._address = address_of(self.scope)
        self._client_name = ""
        service = await running_service()
        self._limits: Limits = service.limits
        self._max_length = service.settings.max_upstream_bytes
        self._task = asyncio.create_task(self._run(service))
        service.add_stream_task(self._task)

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        if self._session is None or self._ending is not None:
            return
        content = message.get("text") or message.get("bytes") or b""
        if 0 < self._max_length < len(content):  # our own server has refused it already
            self.end(closing.message_too_long(self._max_length))
            return
        how = self._session.receive(content)
        if how is not None:
            self.end(how)

    async def changesource_refused(self, message: dict[str, Any]) -> None:
        """`UPSTREAM_REFUSED`: the server refuses what zero-cache sent."""
        self.end(message["how"])

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        self._is_closed = True
        await end_tasks(self._task, *filter(None, [self._ending]))
        await self._slot.aclose()
        raise StopConsumer

    async def _end(self, how: Closing) -> None:
        await end_tasks(self._task)
        await self._close(how)
        await self._slot.aclose()

    async def _run(self, service: StreamService) -> None:
        try:
            how = await self._serve(service)
        except asyncio.CancelledError:
            how = closing.going_away() if service.is_stopping and self._ending is None else None
        except _ClientGone:
            await self._slot.aclose()
            how = None
        except Exception:
            logger.exception("a stream failed")
            how = closing.internal_error()
        if how is not None:
            await self._close(how)
            await self._slot.aclose()

    async def _serve(self, service: StreamService) -> Closing | None:
        """How to close; None if zero-cache is to end the connection, or if it was denied. A refused
        client is held first."""
        settings = service.settings
        if not self._limits.handshakes_of_address.take(network_of(self._address)):
            await self._deny(429, closing.TOO_MANY_HANDSHAKES_OF_ADDRESS)
            return None
        if any(name == b"origin" for name, _ in self.scope["headers"]):
            await self._deny(403, closing.FROM_BROWSER)
            return None
        if path_in_project(self.scope) != STREAM_PATH:
            await self._deny(404, closing.UNKNOWN_PATH)
            return None
        client = await self._authenticate()
        if client is None:
            return None
        self._client_name = client.name
        await self.send({"type": "websocket.accept"})
        if not self._limits.handshakes_of_client.take(client.client_id):
            await self._limits.holds.hold(self._address)
            return closing.too_many_handshakes(settings.handshakes_per_client)
        try:
            request = parse_stream_request(self.scope["query_string"])
        except InvalidRequest as error:
            await self._limits.holds.hold(self._address)
            return closing.invalid_request(str(error))
        return await self._stream(service, request, client)

    async def _stream(self, service: StreamService, request: StreamRequest, client: Identity) -> Closing | None:
        try:
            await self._slot.enter_async_context(self._limits.stream_slot(client.client_id))
        except TooManyStreams:
            return closing.too_many_streams(service.settings.streams_per_client)
        self._session = Session(service, request, client, self, self.end)
        return await self._session.run()

    async def _authenticate(self) -> Identity | None:
        """The identity of the client; None after the connection was denied."""
        headers = dict(self.scope["headers"])
        token = find_token(self.scope["query_string"], headers.get(b"authorization", b"").decode("latin-1") or None)
        if token is None:
            await self._deny(403, closing.NO_TOKEN)
            return None
        try:
            return await authenticate(token)
        except DatabaseError:
            await self._deny(403, closing.DATABASE_FAILED)
        except TokenRefused as error:
            await self._deny(403, error.reason, error.client)
        return None

    async def send(self, message: dict[str, Any]) -> None:
        try:
            await super().send(message)
        except (OSError, RuntimeError) as error:  # RuntimeError: uvicorn has ended the connection itself
            if self._is_on_our_server:
                raise
            raise _ClientGone from error

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        """Sends `frames`, in one message to our own server and one by one to any other."""
        if self._is_on_our_server:
            await self.send({"type": SEND_FRAMES, "frames": frames})
            return
        for frame in frames:
            await self.send({"type": "websocket.send", "text": frame.decode()})

    async def _deny(self, status: int, reason: str, client: str = "") -> None:
        """Refuses the handshake with an HTTP status, before there is a WebSocket."""
        self._limits.refusals.note(Refused(self._address, client, status, reason))
        await self._limits.holds.hold(self._address)
        if DENIAL_RESPONSE in self.scope.get("extensions", {}):
            await self.send({"type": "websocket.http.response.start", "status": status, "headers": []})
            await self.send({"type": "websocket.http.response.body", "body": b""})
        else:
            await self.send({"type": "websocket.close"})

    async def _close(self, how: Closing) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if how.refusal:
            self._limits.refusals.note(Refused(self._address, self._client_name, how.code, how.refusal))
        with suppress(TimeoutError, _ClientGone):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.send({"type": "websocket.close", "code": how.code, "reason": how.reason})

    @property
    def _is_on_our_server(self) -> bool:
        return SEND_FRAMES in self.scope.get("extensions", {})
