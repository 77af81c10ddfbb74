"""What zero-cache has confirmed, and what is in flight."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from changesource.protocol.watermarks import Position
from changesource.sessions.outlet import ClientStalled

MAX_IN_FLIGHT_BYTES = 32 * 2**20
"""What may be sent and not yet acknowledged before the next transaction waits. One larger transaction still passes."""


@dataclass(frozen=True, slots=True)
class _Sent:
    position: Position
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What one acknowledgement was of, that no earlier one was."""

    transactions: int
    rows: int


class InFlight:
    """Transactions sent and not yet acknowledged. zero-cache acknowledges the newest only when it is busy, so an
    acknowledgement is of everything up to its position."""

    def __init__(self, stall_seconds: float, max_bytes: int = MAX_IN_FLIGHT_BYTES) -> None:
        self._stall_seconds = stall_seconds
        self._max_bytes = max_bytes
        self._sent: deque[_Sent] = deque()
        self._bytes = 0
        self._acknowledged = asyncio.Event()
        self.newest: Position | None = None

    def sent(self, position: Position, rows: int, size: int) -> None:
        self._sent.append(_Sent(position, rows, size))
        self._bytes += size

    def acknowledge(self, position: Position) -> Confirmed:
        """Takes an acknowledgement; one of what was never sent, or has been acknowledged, confirms nothing."""
        transactions = rows = 0
        while self._sent and self._sent[0].position <= position:
            confirmed = self._sent.popleft()
            self._bytes -= confirmed.size
            self.newest = confirmed.position
            transactions += 1
            rows += confirmed.rows
        if transactions:
            self._acknowledged.set()
        return Confirmed(transactions, rows)

    async def wait_for_room(self) -> None:
        """Returns when the next transaction may be sent. Raises `ClientStalled` when no acknowledgement comes."""
        while self._bytes > self._max_bytes:
            self._acknowledged.clear()
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await self._acknowledged.wait()
            except TimeoutError as error:
                raise ClientStalled(
                    f"zero-cache acknowledged nothing for {self._stall_seconds:.0f} seconds."
                ) from error
