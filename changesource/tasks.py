"""Ending tasks."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_SECONDS = 0.5


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancels `tasks` and returns when all have ended, whatever they raise.

    Again and again: a cancellation can get lost, for instance in `asyncio.wait_for` of Python 3.11, which PyMongo and
    redis-py use, when it comes at the moment at which the thing waited for is done.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
