"""Ending tasks, and sharing the event loop between them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

AGAIN_SECONDS = 0.5
YIELD_SECONDS = 0.005
"""How long one task may keep the event loop: leases, pings and the streams of others wait behind it."""


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


class LoopShare:
    """What a task that works for long has used of its share of the event loop.

    Looking costs a tenth of a microsecond, so that it can be done for each row: `if share.is_used_up: await
    share.give_way()`.
    """

    __slots__ = ("_ends_at",)

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + YIELD_SECONDS

    @property
    def is_used_up(self) -> bool:
        return time.monotonic() > self._ends_at

    async def give_way(self) -> None:
        """Lets every other task that is ready go first."""
        await asyncio.sleep(0)
        self._ends_at = time.monotonic() + YIELD_SECONDS
