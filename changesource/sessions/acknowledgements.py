"""What was sent to zero-cache, and how much of it zero-cache has acknowledged."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass

from django.db import Error as DatabaseError

from changesource.models import queries
from changesource.protocol.watermarks import Position
from changesource.sessions.outlet import ClientStalled

logger = logging.getLogger(__name__)

MAX_IN_FLIGHT_BYTES = 32 * 2**20
"""How much may be sent and not yet acknowledged before the next transaction waits. One larger
transaction still passes."""
NOTE_SECONDS = 10.0
"""How often the Django database is told how far a replica is, and that it is in use."""


@dataclass(frozen=True, slots=True)
class _Sent:
    position: Position
    rows: int
    size: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What one acknowledgement confirms that no earlier one did."""

    transactions: int
    rows: int


class InFlight:
    """The transactions that have been sent and not yet acknowledged.

    A busy zero-cache acknowledges only the newest, so an acknowledgement confirms everything up to
    its position.
    """

    def __init__(self, stall_seconds: float, max_bytes: int = MAX_IN_FLIGHT_BYTES) -> None:
        self._stall_seconds = stall_seconds
        self._max_bytes = max_bytes
        self._sent: deque[_Sent] = deque()
        self._bytes = 0
        self._acknowledged = asyncio.Event()
        self.newest: Position | None = None

    def sent(self, position: Position, rows: int, size: int) -> None:
        """Counts a transaction that is sent."""
        self._sent.append(_Sent(position, rows, size))
        self._bytes += size

    def acknowledge(self, position: Position) -> Confirmed:
        """Takes an acknowledgement. A position that was never sent, or was acknowledged before,
        confirms nothing."""
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
        """Returns when the next transaction may be sent. Raises `ClientStalled` when no
        acknowledgement comes."""
        while self._bytes > self._max_bytes:
            self._acknowledged.clear()
            try:
                async with asyncio.timeout(self._stall_seconds):
                    await self._acknowledged.wait()
            except TimeoutError as error:
                raise ClientStalled(
                    f"zero-cache acknowledged nothing for {self._stall_seconds:.0f} seconds."
                ) from error


class AcknowledgementNotes:
    """Tells the Django database, every few seconds, how far a registered replica is."""

    def __init__(self, app_id: str, shard_num: int, replica_version: str, in_flight: InFlight) -> None:
        self._app_id = app_id
        self._shard_num = shard_num
        self._replica_version = replica_version
        self._in_flight = in_flight
        self._noted_at = time.monotonic()

    async def note_if_due(self) -> None:
        """Stores the newest acknowledgement, unless that was done less than `NOTE_SECONDS` ago."""
        if time.monotonic() - self._noted_at >= NOTE_SECONDS:
            await self.note()

    def wait(self) -> None:
        """Stores nothing for the next `NOTE_SECONDS`, unless `note` is called. zero-cache acknowledges
        what it has stored, and its replicas need a moment more to apply it."""
        self._noted_at = time.monotonic()

    async def note(self) -> None:
        """Stores the newest acknowledgement now."""
        self._noted_at = time.monotonic()
        newest = "" if self._in_flight.newest is None else self._in_flight.newest.watermark
        try:
            await queries.replicas.note_acknowledged(self._app_id, self._shard_num, self._replica_version, newest)
        except DatabaseError as error:  # the next note says the same
            logger.warning(
                "%s/%d: the acknowledgement was not stored (%s)", self._app_id, self._shard_num, type(error).__name__
            )
