"""Slots in lines that several processes share, in Redis.

The keys of a line: `waiting`, its waiting holders by when they came; `given`, its holders with a slot; `until`, all of
them by the time, of Redis's clock, until which each stays there without being heard of; `groups`, the group of each; and
`served`, when each group was last given a slot. What happens in a line is counted by `now`, which serves as the time.
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
from changesource.log.refused_rights import describe_failure

logger = logging.getLogger(__name__)

EXPIRY_SECONDS = 8.0
"""How long the places of a process that died stay taken."""
TIMEOUT_SECONDS = 1.0
"""A handshake waits for this."""
AWAY_SECONDS = 5.0
"""How long Redis is left alone after it did not answer."""

_BEGIN = """
local waiting, given, until_, groups, served, now = unpack(KEYS)
local time = redis.call('TIME')
local milliseconds = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[1])

local function remove(holder)
  redis.call('ZREM', waiting, holder)
  redis.call('SREM', given, holder)
  redis.call('ZREM', until_, holder)
  redis.call('HDEL', groups, holder)
end

local function stay(holder, group)
  redis.call('HSET', groups, holder, group)
  redis.call('ZADD', until_, milliseconds + ttl, holder)
end

local function keep_keys()
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ttl) end
end
"""

# As `slots._Line` says it.
_ASK = (
    _BEGIN
    + """
local limit, limit_of_group = tonumber(ARGV[4]), tonumber(ARGV[5])

for _, holder in ipairs(redis.call('ZRANGEBYSCORE', until_, '-inf', milliseconds)) do remove(holder) end
if redis.call('SISMEMBER', given, ARGV[2]) == 0 and not redis.call('ZSCORE', waiting, ARGV[2]) then
  redis.call('ZADD', waiting, redis.call('INCR', now), ARGV[2])
end
stay(ARGV[2], ARGV[3])

local slots, slots_of = 0, {}
for _, holder in ipairs(redis.call('SMEMBERS', given)) do
  local group = redis.call('HGET', groups, holder)
  slots, slots_of[group] = slots + 1, (slots_of[group] or 0) + 1
end
while slots < limit do
  local next, next_group, fewest, longest
  local line = redis.call('ZRANGE', waiting, 0, -1, 'WITHSCORES')
  for i = 1, #line, 2 do
    local group = redis.call('HGET', groups, line[i])
    local count = slots_of[group] or 0
    local since = math.max(tonumber(line[i + 1]), tonumber(redis.call('HGET', served, group) or 0))
    if count < limit_of_group and (not next or count < fewest or (count == fewest and since < longest)) then
      next, next_group, fewest, longest = line[i], group, count, since
    end
  end
  if not next then break end
  redis.call('ZREM', waiting, next)
  redis.call('SADD', given, next)
  redis.call('HSET', served, next_group, redis.call('INCR', now))
  slots, slots_of[next_group] = slots + 1, fewest + 1
end
keep_keys()
return redis.call('SISMEMBER', given, ARGV[2])
"""
)

_KEEP = (
    _BEGIN
    + """
for i = 2, #ARGV, 2 do
  redis.call('ZREM', waiting, ARGV[i])
  redis.call('SADD', given, ARGV[i])
  stay(ARGV[i], ARGV[i + 1])
end
keep_keys()
return 1
"""
)

_LEAVE = _BEGIN + "remove(ARGV[2])\nreturn 1\n"


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

    async def ask(self, place: Place, limit: int, limit_of_group: int) -> bool:
        arguments: list[str | int] = [self._ttl, place.holder, place.group, limit, limit_of_group]
        has_slot = await self._answer(self._ask(keys=_keys(place.line), args=arguments))
        if has_slot is None:
            return await self._own.ask(place, limit, limit_of_group)
        # What is running here counts when Redis is away; Redis alone knows those that wait.
        if has_slot:
            await self._own.keep([place])
        else:
            await self._own.leave(place)
        return bool(has_slot)

    async def keep(self, places: Collection[Place]) -> None:
        await self._own.keep(places)
        lines: defaultdict[str, list[str]] = defaultdict(list)
        for place in places:
            lines[place.line] += [place.holder, place.group]
        for line, holders in lines.items():
            await self._answer(self._keep(keys=_keys(line), args=[self._ttl, *holders]))

    async def leave(self, place: Place) -> None:
        await self._own.leave(place)
        await self._answer(self._leave(keys=_keys(place.line), args=[self._ttl, place.holder]))

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
            logger.warning("limits: Redis did not answer (%s); this process counts alone", describe_failure(error))
            return None


def _keys(line: str) -> list[str]:
    parts = ("waiting", "given", "until", "groups", "served", "now")
    return [f"changesource:2:{{{line}}}:{part}" for part in parts]  # braces: one slot of a Redis cluster
