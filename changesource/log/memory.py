"""The change log in the memory of one process, where a server and a watcher share that process."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from bisect import bisect_right
from dataclasses import replace

from changesource.errors import LogMismatch
from changesource.log.entries import ANOTHER_LOG, MAX_READ_BYTES, Entry, EntryId, Extent

MAX_BYTES = 64 * 2**20


class MemoryLog:
    """A `ChangeLog` in memory. `max_bytes` bounds the size of the entries that it holds."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._entries: list[Entry] = []
        self._ids: list[EntryId] = []
        self._bytes = 0
        self._whole: EntryId | None = None
        self._log_id = ""
        self._generation = 0
        self._grown = asyncio.Event()
        self._lease: tuple[str, float] | None = None

    async def append(self, entry: Entry, after: EntryId | None, log_id: str | None = None) -> str:
        tail = self._ids[-1] if self._ids else None
        if tail != after:
            raise LogMismatch(f"The log ends at {tail}, not at {after}.")
        if log_id not in (None, self._log_id):
            raise LogMismatch(ANOTHER_LOG)
        if entry.is_start:
            self._entries, self._ids, self._bytes = [], [], 0
            self._log_id = uuid.uuid4().hex
        elif tail is None or entry.id <= tail:
            raise LogMismatch(f"The entry {entry.id} does not follow the log's tail {tail}.")
        previous = None if entry.is_start else after
        self._entries.append(replace(entry, previous=previous, log_id=self._log_id))
        self._ids.append(entry.id)
        self._bytes += entry.size
        if entry.is_final:
            self._whole = entry.id
        self._drop_oldest()
        self._generation += 1
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        return self._log_id

    async def extent(self) -> Extent:
        if not self._entries:
            return Extent()
        return Extent(self._ids[0], self._ids[-1], self._entries[0].is_start, self._whole, self._log_id)

    async def read(self, after: EntryId | None, limit: int) -> list[Entry]:
        start = 0 if after is None else bisect_right(self._ids, after)
        end = start
        size = 0
        while end < min(len(self._entries), start + limit) and size < MAX_READ_BYTES:
            size += self._entries[end].size
            end += 1
        return self._entries[start:end]

    @property
    def generation(self) -> int:
        return self._generation

    async def wait(self, generation: int, timeout_seconds: float) -> None:
        if self._generation > generation:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                await self._grown.wait()

    async def trim(self) -> None:
        """Does nothing: `append` already drops what exceeds the limit."""

    def _drop_oldest(self) -> None:
        excess = self._bytes - self._max_bytes
        count = 0
        while excess > 0 and count < len(self._entries) - 1:
            excess -= self._entries[count].size
            count += 1
        self._bytes -= sum(entry.size for entry in self._entries[:count])
        del self._entries[:count], self._ids[:count]

    async def acquire_lease(self, owner: str, seconds: float) -> bool:
        now = time.monotonic()
        if self._lease is not None and self._lease[0] != owner and self._lease[1] > now:
            return False
        self._lease = (owner, now + seconds)
        return True

    async def release_lease(self, owner: str) -> None:
        if self._lease is not None and self._lease[0] == owner:
            self._lease = None

    async def leader(self) -> str | None:
        if self._lease is None or self._lease[1] <= time.monotonic():
            return None
        return self._lease[0]

    async def close(self) -> None:
        return None
