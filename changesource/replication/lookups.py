"""How markers in a source are looked up in the Django database, and how often.

A publish or a change of access is stored before its marker is written. So a query that was made
after a marker was received has the final answer about it, and about all markers that were received
earlier: one query serves a whole batch of markers. This bounds the work, because anyone with write
access to the source can write thousands of such markers a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

LOOKUP_SECONDS = 0.1
"""The shortest time between two queries, for which a stream may have to wait at a marker. A small
database can bear as many queries, and nobody notices the delay beside that of a publish."""


class Lookup(Generic[Answer]):
    """An answer of the Django database, shared by all readers in one event loop."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._tried_at = float("-inf")
        self._asked_at = float("-inf")
        self._since = 0
        self._answer: Answer | None = None

    async def answer(self, received_at: float, since: int, ask: Callable[[int], Awaitable[Answer]]) -> Answer:
        """Returns the answer of `ask` for the cluster time `since` or an earlier one, from a query
        that was made after `received_at` by the monotonic clock. Raises what `ask` raises."""
        async with self._lock:
            if self._answer is not None and self._asked_at > received_at and self._since <= since:
                return self._answer
            await asyncio.sleep(max(0.0, self._tried_at + LOOKUP_SECONDS - time.monotonic()))
            self._tried_at = asked_at = time.monotonic()
            since = since if self._answer is None else min(since, self._since)
            self._answer = await ask(since)
            self._asked_at, self._since = asked_at, since
            return self._answer
