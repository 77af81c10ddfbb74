"""Semaphores that several processes share, in Redis.

The keys of a semaphore: `waiting`, the tickets in the queue, scored by when they arrived; `given`,
the tickets with a slot; `until`, when each ticket expires, by Redis's clock, unless it is renewed;
`groups`, the group of each ticket; and `served`, when each group last got a slot. `now` numbers the
events of the semaphore, and the numbers serve as the time.
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

from changesource.limits.semaphores import MemorySemaphores, Ticket
from changesource.log.refused_rights import describe_failure

logger = logging.getLogger(__name__)

EXPIRY_SECONDS = 8.0
"""How long the tickets of a process that died still count."""
TIMEOUT_SECONDS = 1.0
"""A handshake waits for this."""
AWAY_SECONDS = 5.0
"""How long Redis is left alone after it did not answer."""

_BEGIN = """
local waiting, given, until_, groups, served, now = unpack(KEYS)
local time = redis.call('TIME')
local milliseconds = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[1])

local function remove(ticket)
  redis.call('ZREM', waiting, ticket)
  redis.call('SREM', given, ticket)
  redis.call('ZREM', until_, ticket)
  redis.call('HDEL', groups, ticket)
end

local function extend(ticket, group)
  redis.call('HSET', groups, ticket, group)
  redis.call('ZADD', until_, milliseconds + ttl, ticket)
end

local function keep_keys()
  for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ttl) end
end
"""

# The same as `semaphores._Semaphore`.
_ACQUIRE = (
    _BEGIN
    + """
local limit, limit_of_group = tonumber(ARGV[4]), tonumber(ARGV[5])

for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', until_, '-inf', milliseconds)) do remove(ticket) end
if redis.call('SISMEMBER', given, ARGV[2]) == 0 and not redis.call('ZSCORE', waiting, ARGV[2]) then
  redis.call('ZADD', waiting, redis.call('INCR', now), ARGV[2])
end
extend(ARGV[2], ARGV[3])

local slots, slots_of = 0, {}
for _, ticket in ipairs(redis.call('SMEMBERS', given)) do
  local group = redis.call('HGET', groups, ticket)
  slots_of[group] = (slots_of[group] or 0) + 1
end
for _, count in pairs(slots_of) do slots = slots + math.min(count, limit_of_group) end
while slots < limit do
  local next, next_group, fewest, longest
  local queue = redis.call('ZRANGE', waiting, 0, -1, 'WITHSCORES')
  for i = 1, #queue, 2 do
    local group = redis.call('HGET', groups, queue[i])
    local count = slots_of[group] or 0
    local since = math.max(tonumber(queue[i + 1]), tonumber(redis.call('HGET', served, group) or 0))
    if count < limit_of_group and (not next or count < fewest or (count == fewest and since < longest)) then
      next, next_group, fewest, longest = queue[i], group, count, since
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

_RENEW = (
    _BEGIN
    + """
for i = 2, #ARGV, 2 do
  redis.call('ZREM', waiting, ARGV[i])
  redis.call('SADD', given, ARGV[i])
  extend(ARGV[i], ARGV[i + 1])
end
keep_keys()
return 1
"""
)

_RELEASE = _BEGIN + "remove(ARGV[2])\nreturn 1\n"


class RedisSemaphores:
    """`Semaphores` in Redis, and in this process while Redis is away."""

    def __init__(self, url: str, *, expiry_seconds: float = EXPIRY_SECONDS) -> None:
        # No timeout of redis-py's own: its `asyncio.wait_for` swallows most cancellations in Python
        # 3.11.
        self._redis = redis.asyncio.Redis.from_url(url, socket_timeout=None, socket_connect_timeout=TIMEOUT_SECONDS)
        self._ttl = int(expiry_seconds * 1000)
        self._acquire = self._redis.register_script(_ACQUIRE)
        self._renew = self._redis.register_script(_RENEW)
        self._release = self._redis.register_script(_RELEASE)
        self._own = MemorySemaphores()
        self._away_until = 0.0

    async def acquire(self, ticket: Ticket, limit: int, limit_of_group: int) -> bool:
        arguments: list[str | int] = [self._ttl, ticket.name, ticket.group, limit, limit_of_group]
        has_slot = await self._answer(self._acquire(keys=_keys(ticket.semaphore), args=arguments))
        if has_slot is None:
            return await self._own.acquire(ticket, limit, limit_of_group)
        # The slots held here count while Redis is away. The queue is in Redis alone.
        if has_slot:
            await self._own.renew([ticket])
        else:
            await self._own.release(ticket)
        return bool(has_slot)

    async def renew(self, tickets: Collection[Ticket]) -> None:
        await self._own.renew(tickets)
        arguments: defaultdict[str, list[str]] = defaultdict(list)
        for ticket in tickets:
            arguments[ticket.semaphore] += [ticket.name, ticket.group]
        for semaphore, names in arguments.items():
            await self._answer(self._renew(keys=_keys(semaphore), args=[self._ttl, *names]))

    async def release(self, ticket: Ticket) -> None:
        await self._own.release(ticket)
        await self._answer(self._release(keys=_keys(ticket.semaphore), args=[self._ttl, ticket.name]))

    async def close(self) -> None:
        self._away_until = math.inf  # a later release would connect again
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _answer(self, asked: Awaitable[Any]) -> Any:
        """Redis's answer; None while Redis is away, when it is not asked again for some seconds."""
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


def _keys(semaphore: str) -> list[str]:
    parts = ("waiting", "given", "until", "groups", "served", "now")
    return [f"changesource:2:{{{semaphore}}}:{part}" for part in parts]  # braces: one slot of a Redis cluster
