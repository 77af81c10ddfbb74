"""WebSockets of browsers are refused: the stream is for zero-cache, which says no origin, while every browser says one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from changesource.protocol.closing import REFUSAL_DELAY_SECONDS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)


def without_browsers(application: Application) -> Application:
    """`application` for connections without an Origin header; the others are refused with 403, after a second like all."""

    async def answer(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if all(name != b"origin" for name, _ in scope["headers"]):
            await application(scope, receive, send)
            return
        address = (scope.get("client") or ["unknown"])[0]
        logger.warning("refused a connection from %s: it comes from a browser", address, extra={"action": "refused"})
        await asyncio.sleep(REFUSAL_DELAY_SECONDS)
        await send({"type": "websocket.close"})

    return answer
