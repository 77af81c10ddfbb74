"""The sending side of a session's WebSocket, and how long zero-cache may keep it waiting."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from changesource.errors import ChangeSourceError
from changesource.tasks import LoopShare

SEND_BYTES = 256 * 1024
"""About how much is handed over at once. A client that reads slowly has to take this much within
`stall_seconds`."""


class Outlet(Protocol):
    """One WebSocket's sending side."""

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        """Sends text frames in order. Returns when the socket has taken them, however late."""


class ClientStalled(ChangeSourceError):
    """zero-cache has read or acknowledged nothing for too long. It resumes by its watermark."""

    code = "CS501"


class SnapshotTooSlow(ChangeSourceError):
    """zero-cache reads a snapshot at less than SNAPSHOT_MIN_BYTES_PER_SECOND; others wait."""

    code = "CS502"


class PacedOutlet:
    """Sends in small portions, each within `stall_seconds`, and counts what was sent.

    `least_bytes_per_second` also bounds how long the client may keep us waiting in all:
    `stall_seconds`, plus the time that everything sent takes at that rate. 0 sets no bound.
    The time between two portions does not count, because then the client waits for us, or for
    MongoDB.
    """

    def __init__(self, outlet: Outlet, stall_seconds: float, least_bytes_per_second: int = 0) -> None:
        self._outlet = outlet
        self._stall_seconds = stall_seconds
        self._least_bytes_per_second = least_bytes_per_second
        self._waited_seconds = 0.0
        self._share = LoopShare()
        self.sent_bytes = 0

    async def send(self, frames: Iterable[bytes]) -> None:
        """Sends `frames`, taking them one after the other. Raises `ClientStalled` and
        `SnapshotTooSlow`."""
        portion: list[bytes] = []
        size = 0
        for frame in frames:
            portion.append(frame)
            size += len(frame)
            if size >= SEND_BYTES:
                await self._send_portion(portion, size)
                portion, size = [], 0
        if portion:
            await self._send_portion(portion, size)

    async def _send_portion(self, portion: Sequence[bytes], size: int) -> None:
        began = time.monotonic()
        seconds_left = self._seconds_left(size)
        try:
            async with asyncio.timeout(min(self._stall_seconds, seconds_left)):
                await self._outlet.send_frames(portion)
        except TimeoutError as error:
            if seconds_left < self._stall_seconds:
                raise SnapshotTooSlow(
                    f"zero-cache has read less than {self._least_bytes_per_second} bytes a second of the snapshot."
                ) from error
            raise ClientStalled(f"zero-cache read nothing for {self._stall_seconds:.0f} seconds.") from error
        self._waited_seconds += time.monotonic() - began
        self.sent_bytes += size
        # A socket that takes everything at once, as it does small frames, never yields by itself.
        if self._share.is_used_up:
            await self._share.yield_control()

    def _seconds_left(self, size: int) -> float:
        """How long the client may take for `size` more bytes."""
        if self._least_bytes_per_second <= 0:
            return math.inf
        may_take = self._stall_seconds + (self.sent_bytes + size) / self._least_bytes_per_second
        return max(0.0, may_take - self._waited_seconds)
