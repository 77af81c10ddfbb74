"""Where a session's frames go."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from changesource.errors import ChangeSourceError
from changesource.tasks import LoopShare

SEND_BYTES = 256 * 1024
"""About how much is handed over at once: a client that reads slowly must get through this within its time."""


class Outlet(Protocol):
    """One WebSocket's sending side."""

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        """Sends text frames in order; returns when the socket has taken them, which can take as long as it likes."""


class ClientStalled(ChangeSourceError):
    """zero-cache has read nothing, or acknowledged nothing, for too long. It resumes by its watermark."""

    code = "CS501"


class PacedOutlet:
    """Sends in small portions, each within `stall_seconds`, and counts what was sent."""

    def __init__(self, outlet: Outlet, stall_seconds: float) -> None:
        self._outlet = outlet
        self._stall_seconds = stall_seconds
        self._share = LoopShare()
        self.sent_bytes = 0

    async def send(self, frames: Iterable[bytes]) -> None:
        """Takes from `frames` as they are sent. Raises `ClientStalled`."""
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
        try:
            async with asyncio.timeout(self._stall_seconds):
                await self._outlet.send_frames(portion)
        except TimeoutError as error:
            raise ClientStalled(f"zero-cache read nothing for {self._stall_seconds:.0f} seconds.") from error
        self.sent_bytes += size
        # A socket that takes everything at once, or frames that are small once they are compressed, give nobody else a turn.
        if self._share.is_used_up:
            await self._share.give_way()
