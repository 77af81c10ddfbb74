"""The WebSocket of Zero's change source protocol. The stream runs in one task; handlers only pass things on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from django.db import Error as DatabaseError

from changesource.authentication.tokens import authenticate
from changesource.errors import InvalidRequest, TokenRefused
from changesource.models.client_store import Identity
from changesource.protocol import closing
from changesource.protocol.closing import REFUSAL_DELAY_SECONDS, Closing
from changesource.protocol.requests import find_token, parse_stream_request
from changesource.server import SEND_FRAMES
from changesource.streaming.service import StreamService, running_service
from changesource.streaming.session import Session
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)


class ChangeStreamConsumer(AsyncConsumer):
    """One connection. It needs no channel of the channel layer, so Redis may be away when it begins."""

    channel_layer_alias = "none"

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Without Channels' hop to a thread for each message, which looks after database connections: handlers here
        use none, and acknowledgements come by the hundred."""
        await getattr(self, message["type"].replace(".", "_"))(message)

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        self._session: Session | None = None
        self._is_closed = False
        service = await running_service()
        self._task = asyncio.create_task(self._run(service))
        service.add_session(self._task)

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        if self._session is None:
            return
        how = self._session.receive(message.get("text") or message.get("bytes") or b"")
        if how is not None:
            self._task.cancel()
            await self._close(how)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        self._is_closed = True
        await end_tasks(self._task)
        raise StopConsumer

    async def _run(self, service: StreamService) -> None:
        try:
            how = await self._serve(service)
        except asyncio.CancelledError:
            how = closing.going_away() if service.is_stopping else None
        except Exception:
            logger.exception("a stream failed")
            how = closing.internal_error()
        if how is not None:
            await self._close(how)

    async def _serve(self, service: StreamService) -> Closing | None:
        client = await self._authenticate()
        if client is None:
            await asyncio.sleep(REFUSAL_DELAY_SECONDS)
            await self.send({"type": "websocket.close"})
            return None
        await self.send({"type": "websocket.accept"})
        try:
            request = parse_stream_request(self.scope["query_string"])
        except InvalidRequest as error:
            logger.warning("client %s: refused: %s", client.name, error)
            await asyncio.sleep(REFUSAL_DELAY_SECONDS)
            return closing.invalid_request(str(error))
        self._session = Session(service, request, client, self, self.end)
        return await self._session.run()

    def end(self, how: Closing) -> None:
        """Ends the session, whatever it is doing, and closes."""
        self._task.cancel()
        self._ending = asyncio.create_task(self._close(how))

    async def _authenticate(self) -> Identity | None:
        headers = dict(self.scope["headers"])
        token = find_token(self.scope["query_string"], headers.get(b"authorization", b"").decode("latin-1") or None)
        address = (self.scope.get("client") or ["unknown"])[0]
        if token is None:
            logger.warning("refused a connection from %s: no token", address, extra={"action": "refused"})
            return None
        try:
            return await authenticate(token)
        except DatabaseError as error:
            logger.error("cannot look up clients: the Django database failed (%s)", type(error).__name__)
        except TokenRefused as error:
            logger.warning("refused a connection from %s: %s", address, error.reason, extra={"action": "refused"})
        return None

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        """`Outlet`: in one message to our own server, in many to any other."""
        if SEND_FRAMES in self.scope.get("extensions", {}):
            await self.send({"type": SEND_FRAMES, "frames": frames})
            return
        for frame in frames:
            await self.send({"type": "websocket.send", "text": frame.decode()})

    async def _close(self, how: Closing) -> None:
        if not self._is_closed:
            self._is_closed = True
            await self.send({"type": "websocket.close", "code": how.code, "reason": how.reason})
