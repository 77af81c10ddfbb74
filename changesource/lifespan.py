"""ASGI's lifespan: a server that supports it starts the service before the first request and stops
it at the end. Daphne does not support it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from changesource.service import running_service, stop_service

logger = logging.getLogger(__name__)

Message = dict[str, Any]


async def lifespan(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """An ASGI application for scopes of this type."""
    await receive()
    try:
        await running_service()
    except Exception as error:
        logger.critical("the service could not start", exc_info=error)
        await send(
            {"type": "lifespan.startup.failed", "message": f"The service could not start ({type(error).__name__})."}
        )
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await stop_service()
    await send({"type": "lifespan.shutdown.complete"})
