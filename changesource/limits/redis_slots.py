"""Places in lines that several processes share, in Redis.

A line is two sorted sets: the holders by their order, and by the time, of Redis's clock, until which each stands there
without being heard of.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Collection
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from changesource.limits.slots import MemorySlots, Place

logger = logging.getLogger(__name__)

EXPIRY_SECONDS = 8.0
"""How long the places of a process that died stay taken."""
TIMEOUT_SECONDS = 1.0
"""A handshake waits for this."""
AWAY_SECONDS = 5.0
"""How long Redis is left alone after it did not answer."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[1])
"""

_ASK = (
    _NOW
    + """
for _, holder in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('ZREM', KEYS[1], holder)
  redis.call('ZREM', KEYS[2], holder)
end
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then
  local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or '0'
  redis.call('ZADD', KEYS[1], tonumber(last) + 1, ARGV[2])
end
redis.call('ZADD', KEYS[2], now + ttl, ARGV[2])
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[2], ttl)
return redis.call('ZRANK', KEYS[1], ARGV[2])
"""
)

_KEEP = (
    _NOW
    + """
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'NX', 0, ARGV[i])
  redis.call('ZADD', KEYS[2], now + ttl, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('PEXPIRE', KEYS[2], ttl)
return 1
"""
)

_LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""


class RedisSlots:
    """Keeps the `Slots` contract."""

    def __init__(self, url: str, *, expiry_seconds: float = EXPIRY_SECONDS) -> None:
        # No timeout of redis-py's own: its `asyncio.wait_for` swallows most cancellations in Python 3.11.
        self._redis = redis.asyncio.Redis.from_url(url, socket_timeout=None, socket_connect_timeout=TIMEOUT_SECONDS)
        self._ttl = int(expiry_seconds * 1000)
        self._ask = self._redis.register_script(_ASK)
        self._keep = self._redis.register_script(_KEEP)
        self._leave = self._redis.register_script(_LEAVE)
        self._own = MemorySlots()
        self._away_until = 0.0

    async def ask(self, place: Place, limit: int) -> bool:
        is_first_here = await self._own.ask(place, limit)
        rank = await self._answer(self._ask(keys=_keys(place.line), args=[self._ttl, place.holder]))
        return is_first_here if rank is None else int(rank) < limit

    async def keep(self, places: Collection[Place]) -> None:
        holders: defaultdict[str, list[str]] = defaultdict(list)
        for place in places:
            holders[place.line].append(place.holder)
        for line, names in holders.items():
            await self._answer(self._keep(keys=_keys(line), args=[self._ttl, *names]))

    async def leave(self, place: Place) -> None:
        await self._own.leave(place)
        await self._answer(self._leave(keys=_keys(place.line), args=[place.holder]))

    async def close(self) -> None:
        self._away_until = math.inf  # whoever leaves later would connect again
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _answer(self, asked: Awaitable[Any]) -> Any:
        """None when Redis is away, without asking it again for a while."""
        if time.monotonic() < self._away_until:
            asked.close()  # type: ignore[attr-defined]
            return None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await asked
        except (TimeoutError, RedisError, OSError) as error:
            self._away_until = time.monotonic() + AWAY_SECONDS
            logger.warning("limits: Redis did not answer (%s); this process counts alone", type(error).__name__)
            return None


def _keys(line: str) -> list[str]:
    return [f"changesource:1:{{{line}}}:{part}" for part in ("line", "until")]  # braces: one slot of a Redis cluster
