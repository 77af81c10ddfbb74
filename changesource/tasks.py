"""Ending tasks, and sharing the event loop among them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

AGAIN_SECONDS = 0.5
YIELD_SECONDS = 0.005
"""How long a task may keep the event loop, behind which leases, pings and other streams wait."""


async def end_tasks(*tasks: asyncio.Future[Any]) -> None:
    """Cancels `tasks` and returns when all have ended, whatever they raise.

    It cancels repeatedly, because a cancellation can get lost: in `asyncio.wait_for` of Python
    3.11, for instance, which PyMongo and redis-py use, if it comes just when the awaited task is
    done.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


class LoopShare:
    """The share of the event loop that a task with much work has used.

    A check costs a tenth of a microsecond, so that it can be made for each row: `if
    share.is_used_up: await share.yield_control()`.
    """

    __slots__ = ("_ends_at",)

    def __init__(self) -> None:
        self._ends_at = time.monotonic() + YIELD_SECONDS

    @property
    def is_used_up(self) -> bool:
        return time.monotonic() > self._ends_at

    async def yield_control(self) -> None:
        """Yields to every other task that is ready."""
        await asyncio.sleep(0)
        self._ends_at = time.monotonic() + YIELD_SECONDS
