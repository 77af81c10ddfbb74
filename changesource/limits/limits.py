"""The limits of one process: how often somebody may connect, how many streams a client has, whose snapshot it is."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from changesource.conf import ChangeSourceSettings
from changesource.errors import TooManyStreams
from changesource.limits.buckets import TokenBuckets
from changesource.limits.redis_slots import RedisSlots
from changesource.limits.refusals import Holds, RefusalNotes
from changesource.limits.slots import MemorySlots, Place, Slots
from changesource.protocol import closing
from changesource.tasks import end_tasks

KEEP_SECONDS = 2.0
"""How often slots are renewed: several times within `redis_slots.EXPIRY_SECONDS`."""
ASK_SECONDS = 1.0
"""How soon a place that another process left is noticed. One that was left here is noticed at once."""


class Limits:
    """Belongs to one event loop. `close` at the end."""

    def __init__(self, settings: ChangeSourceSettings, slots: Slots | None = None) -> None:
        self._settings = settings
        self._slots = slots or (RedisSlots(settings.redis_url) if settings.redis_url else MemorySlots())
        self._held: set[Place] = set()
        self._left = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.handshakes_of_address = TokenBuckets(settings.handshakes_per_address)
        self.handshakes_of_client = TokenBuckets(settings.handshakes_per_client)
        self.holds = Holds()
        self.refusals = RefusalNotes()

    @asynccontextmanager
    async def stream_slot(self, client_id: int) -> AsyncIterator[None]:
        """One of the streams that the client may have. Raises `TooManyStreams` when none gets free within the time that a
        refusal takes anyway: a zero-cache that lost its connection may be back before that has ended here."""
        if not self._settings.streams_per_client:
            yield
            return
        place = Place(f"streams:{client_id}", uuid.uuid4().hex)
        try:
            try:
                async with asyncio.timeout(closing.REFUSAL_DELAY_SECONDS):
                    limit = self._settings.streams_per_client
                    await self._stand(place, limit, limit)
            except TimeoutError as error:
                raise TooManyStreams from error
            yield
        finally:
            await self._leave(place)

    @asynccontextmanager
    async def snapshot_slot(self, app_id: str, client_id: int) -> AsyncIterator[None]:
        """Waits for one of the app's turns, which go round by client; a snapshot that is cancelled meanwhile leaves the line.

        A client never has all of several turns: then others would wait for its slowest zero-cache.
        """
        limit = self._settings.snapshots_per_app
        if not limit:
            yield
            return
        place = Place(f"snapshots:{app_id}", uuid.uuid4().hex, str(client_id))
        try:
            await self._stand(place, limit, max(1, limit - 1))
            yield
        finally:
            await self._leave(place)

    async def close(self) -> None:
        """Frees all slots and stores the refusals that are still to be stored."""
        if self._keeper is not None:
            await end_tasks(self._keeper)
        for place in list(self._held):
            await self._leave(place)
        await self._slots.close()
        await self.refusals.close()

    async def _stand(self, place: Place, limit: int, limit_of_group: int) -> None:
        while True:
            left = self._left
            if await self._slots.ask(place, limit, limit_of_group):
                break
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    await left.wait()
            except TimeoutError:
                continue
        self._held.add(place)
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep())

    async def _leave(self, place: Place) -> None:
        self._held.discard(place)
        try:
            await self._slots.leave(place)
        finally:
            left, self._left = self._left, asyncio.Event()
            left.set()

    async def _keep(self) -> None:
        while self._held:
            await asyncio.sleep(KEEP_SECONDS)
            kept = set(self._held)
            await self._slots.keep(kept)
            for place in kept - self._held:
                await self._slots.leave(place)  # it was left while it was being renewed
