"""The doorbell: "the log grew", over Django Channels' layer.

The layer drops messages by design, and says nothing when its connection was lost. So the doorbell
carries no data, and nothing relies on it: a reader that waits for it also looks at the log after a
time. One channel serves all sessions of a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re

from channels.layers import get_channel_layer

from changesource.log.refused_rights import describe_failure
from changesource.tasks import end_tasks

logger = logging.getLogger(__name__)

RING_INTERVAL_SECONDS = 0.002
"""Rings that are closer together become one: under load, each ring stands for many entries."""
RING_TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 1.0
DEAF_SECONDS = 0.05
"""How long a wait lasts while nothing can be heard: before the subscription is made, or while the
layer is unavailable."""


class Doorbell:
    """Announces the growth of one log, and waits for it. It belongs to one event loop."""

    def __init__(self, name: str) -> None:
        self._group = "changesource." + re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:80]
        self._generation = 0
        self._is_listening = False
        self._rung = asyncio.Event()
        self._wants_ring = asyncio.Event()
        self._ringer: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def ring(self) -> None:
        """Tells all listeners soon. Returns at once."""
        self._wants_ring.set()
        if self._ringer is None:
            self._ringer = asyncio.create_task(self._keep_ringing())

    @property
    def generation(self) -> int:
        """How many rings have been heard here."""
        return self._generation

    async def wait(self, generation: int, timeout_seconds: float) -> None:
        """Returns once there has been a ring after `generation`, or when the time is over."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._keep_listening())
        if self._generation > generation:
            return
        rung = self._rung
        if not self._is_listening:
            timeout_seconds = min(timeout_seconds, DEAF_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await rung.wait()

    async def close(self) -> None:
        """Ends the doorbell's tasks."""
        await end_tasks(*(task for task in (self._ringer, self._listener) if task is not None))

    async def _keep_ringing(self) -> None:
        layer = get_channel_layer()
        while True:
            await self._wants_ring.wait()
            self._wants_ring.clear()
            try:
                async with asyncio.timeout(RING_TIMEOUT_SECONDS):
                    await layer.group_send(self._group, {"type": "log.grew"})
                await asyncio.sleep(RING_INTERVAL_SECONDS)
            except Exception as error:  # noqa: BLE001 (the layer's own and the driver's: listeners also look without a ring)
                logger.warning("doorbell: cannot ring (%s)", describe_failure(error), extra={"action": "doorbell"})
                await asyncio.sleep(RETRY_SECONDS)

    async def _keep_listening(self) -> None:
        layer = get_channel_layer()
        while True:
            try:
                channel = await layer.new_channel()
                await layer.group_add(self._group, channel)
                self._is_listening = True
                while True:
                    await layer.receive(channel)
                    self._generation += 1
                    rung, self._rung = self._rung, asyncio.Event()
                    rung.set()
            except Exception as error:  # noqa: BLE001 (the layer's own and the driver's: waits end by time)
                self._is_listening = False
                logger.warning("doorbell: cannot listen (%s)", describe_failure(error), extra={"action": "doorbell"})
                await asyncio.sleep(RETRY_SECONDS)
