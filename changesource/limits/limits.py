"""The limits of one process: how often a client may connect, how many streams it has, and which
snapshots run."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from changesource.conf import ChangeSourceSettings
from changesource.errors import TooManyStreams
from changesource.limits.buckets import TokenBuckets
from changesource.limits.one_at_a_time import OneAtATime
from changesource.limits.redis_semaphores import RedisSemaphores
from changesource.limits.refusals import Holds, RefusalNotes
from changesource.limits.semaphores import MemorySemaphores, Semaphores, Ticket
from changesource.protocol import closing
from changesource.tasks import end_tasks

RENEW_SECONDS = 2.0
"""How often tickets are renewed: several times within `redis_semaphores.EXPIRY_SECONDS`."""
ACQUIRE_SECONDS = 1.0
"""How soon a slot that another process released is noticed. A release in this process is noticed at
once."""


class Limits:
    """Belongs to one event loop. `close` it at the end."""

    def __init__(self, settings: ChangeSourceSettings, semaphores: Semaphores | None = None) -> None:
        self._settings = settings
        self._semaphores = semaphores or (
            RedisSemaphores(settings.redis_url) if settings.redis_url else MemorySemaphores()
        )
        self._held: set[Ticket] = set()
        self._released = asyncio.Event()
        self._renewer: asyncio.Task[None] | None = None
        self.handshakes_of_address = TokenBuckets(settings.handshakes_per_address)
        self.handshakes_of_client = TokenBuckets(settings.handshakes_per_client)
        self.holds = Holds()
        self.held_queries = Holds()
        """Apart from connections: refused requests for named queries must not end the holding of those."""
        self.refusals = RefusalNotes()
        self.named_queries = OneAtATime()

    @asynccontextmanager
    async def stream_slot(self, client_id: int) -> AsyncIterator[None]:
        """One of the streams that the client may have. Raises `TooManyStreams` if no slot gets free
        within `REFUSAL_DELAY_SECONDS`: a zero-cache that lost its connection may be back before
        that stream has ended here."""
        limit = self._settings.streams_per_client
        if not limit:
            yield
            return
        ticket = Ticket(f"streams:{client_id}", uuid.uuid4().hex)
        try:
            try:
                async with asyncio.timeout(closing.REFUSAL_DELAY_SECONDS):
                    await self._acquire(ticket, limit, limit)
            except TimeoutError as error:
                raise TooManyStreams from error
            yield
        finally:
            await self._release(ticket)

    @asynccontextmanager
    async def snapshot_slot(self, app_id: str, client_id: int) -> AsyncIterator[None]:
        """Waits for one of the app's snapshot slots, which go round by client. A snapshot that is
        cancelled while it waits leaves the queue.

        Where there are several slots, no client ever has all of them: the others would wait for its
        slowest zero-cache.
        """
        limit = self._settings.snapshots_per_app
        if not limit:
            yield
            return
        ticket = Ticket(f"snapshots:{app_id}", uuid.uuid4().hex, str(client_id))
        try:
            await self._acquire(ticket, limit, max(1, limit - 1))
            yield
        finally:
            await self._release(ticket)

    async def close(self) -> None:
        """Releases all slots and stores the refusals that are still pending."""
        if self._renewer is not None:
            await end_tasks(self._renewer)
        for ticket in list(self._held):
            await self._release(ticket)
        await self._semaphores.close()
        await self.refusals.close()

    async def _acquire(self, ticket: Ticket, limit: int, limit_of_group: int) -> None:
        while True:
            released = self._released
            if await self._semaphores.acquire(ticket, limit, limit_of_group):
                break
            try:
                async with asyncio.timeout(ACQUIRE_SECONDS):
                    await released.wait()
            except TimeoutError:
                continue
        self._held.add(ticket)
        if self._renewer is None or self._renewer.done():
            self._renewer = asyncio.create_task(self._renew())

    async def _release(self, ticket: Ticket) -> None:
        self._held.discard(ticket)
        try:
            await self._semaphores.release(ticket)
        finally:
            released, self._released = self._released, asyncio.Event()
            released.set()

    async def _renew(self) -> None:
        while self._held:
            await asyncio.sleep(RENEW_SECONDS)
            renewed = set(self._held)
            await self._semaphores.renew(renewed)
            for ticket in renewed - self._held:
                await self._semaphores.release(ticket)  # it was released while it was being renewed
