"""The change log as a Redis Stream, one for each app.

The id of a stream entry is the entry's place: `<cluster time>-<ordinal << 32 | part>`. Its fields
are `p`, the id of the previous entry; `l`, the log's own id; `f`, flags; `v`, the version; `t`, the
commit time; `T<table>`, the frames of a table, and `V<table>`, the filter values beside them; and,
where the entry has them, `m`, the nonces of markers, and `a`, a change of access. A second key
holds the ids of the tail, of the last entry that ended a transaction, and of the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import redis.asyncio
from redis.exceptions import RedisError

from changesource.errors import LeaseLost, LogMismatch, LogUnavailable
from changesource.log.doorbell import Doorbell
from changesource.log.entries import (
    ANOTHER_LOG,
    MAX_READ_BYTES,
    AccessCutover,
    Entry,
    EntryId,
    Extent,
    Leadership,
    pack_nonces,
    unpack_nonces,
)
from changesource.log.refused_rights import describe_failure
from changesource.protocol.watermarks import Position

MAX_BYTES = 256 * 2**20
MAX_AGE_SECONDS = 24 * 3600
PART_BITS = 32
FORMAT = 4
"""The format of what the keys hold. It is part of their names, so that a release never reads a
format that it does not know."""
TIMEOUT_SECONDS = 5.0
"""How long Redis may take for one request."""
ENTRY_BYTES, FIELD_BYTES, INTEGER_BYTES, NODE_BYTES = 512, 16, 20, 8192
"""Upper bounds of what Redis needs in addition to the bytes of names and values: for an entry, for
a field's name or value, for a number, and for the space that it allocates ahead."""
TRIMMED_FRACTION = 0.9
"""To what fraction of its limit a log that is too large is trimmed."""

_APPEND = """
local tail, whole, log = string.match(redis.call('GET', KEYS[2]) or '', '^(%S+) (%S+) (%S+)$')
if not tail or redis.call('XLEN', KEYS[1]) == 0 then tail = '' end
local leader = redis.call('GET', KEYS[3])
if leader and ARGV[5] ~= '' and leader ~= ARGV[5] then return {'led', leader} end
if tail ~= ARGV[1] then return {'mismatch', tail} end
if ARGV[6] ~= '' and log ~= ARGV[6] then return {'another', log} end
local previous = ARGV[1]
if ARGV[3] == 'start' then
  redis.call('DEL', KEYS[1])
  previous = ''
  log = ARGV[4]
elseif tail == '' then
  return {'mismatch', tail}
end
if ARGV[3] ~= 'part' then whole = ARGV[2] end
redis.call('XADD', KEYS[1], ARGV[2], 'p', previous, 'l', log, unpack(ARGV, 7))
redis.call('SET', KEYS[2], ARGV[2] .. ' ' .. whole .. ' ' .. log)
return {'ok', log}
"""

_EXTENT = """
local ends = redis.call('GET', KEYS[2])
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
if not ends or not first then return {} end
for i = 1, #first[2], 2 do
  if first[2][i] == 'f' then return {first[1], first[2][i + 1], ends} end
end
return {}
"""
"""The script does not return the frames of the first entry, which can be large."""

_READ = """
local found, size, low = {}, 0, ARGV[1]
while #found < tonumber(ARGV[2]) and size < tonumber(ARGV[3]) do
  local entry = redis.call('XRANGE', KEYS[1], low, '+', 'COUNT', 1)[1]
  if not entry then break end
  found[#found + 1] = entry
  for i = 2, #entry[2], 2 do size = size + #entry[2][i] end
  low = '(' .. entry[1]
end
return found
"""
"""XRANGE can only limit the number of entries, and 32 entries of a large transaction are more than
a session should hold."""

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_ACQUIRE = (
    _NOW
    + """
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[2], math.max(ARGV[2], redis.call('PTTL', KEYS[2])))
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""
)

_LEADERSHIP = (
    _NOW
    + """
local left = redis.call('PTTL', KEYS[1])
return {redis.call('GET', KEYS[1]) or '', left, redis.call('ZCOUNT', KEYS[2], now, '+inf')}
"""
)

_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""


class RedisLog:
    """A `ChangeLog` in Redis. `name` tells the app apart from others in the same Redis."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        max_bytes: int = MAX_BYTES,
        max_age_seconds: float = MAX_AGE_SECONDS,
    ) -> None:
        # Not redis-py's own timeouts: its `asyncio.wait_for` swallows most cancellations in Python
        # 3.11.
        self._redis = redis.asyncio.Redis.from_url(url, socket_timeout=None, socket_connect_timeout=TIMEOUT_SECONDS)
        self._key = f"changesource:{FORMAT}:{{{name}}}:log"  # braces: all keys in one slot of a Redis cluster
        self._tail_key = f"changesource:{FORMAT}:{{{name}}}:tail"
        self._lease_key = f"changesource:{FORMAT}:{{{name}}}:leader"
        self._standbys_key = f"changesource:{FORMAT}:{{{name}}}:standbys"
        self._owner = ""
        self._append = self._redis.register_script(_APPEND)
        self._extent = self._redis.register_script(_EXTENT)
        self._read = self._redis.register_script(_READ)
        self._acquire = self._redis.register_script(_ACQUIRE)
        self._leadership = self._redis.register_script(_LEADERSHIP)
        self._release = self._redis.register_script(_RELEASE)
        self._doorbell = Doorbell(name)
        self._max_bytes = max_bytes
        # An upper bound of what was appended from here; and the log's size when last measured, with
        # that bound at the time.
        self._appended_bytes = 0
        self._measured: tuple[int, float] | None = None
        self._max_age_seconds = max_age_seconds

    async def append(self, entry: Entry, after: EntryId | None, log_id: str | None = None) -> str:
        if after is not None and entry.id <= after and not entry.is_start:
            raise LogMismatch(f"The entry {_id_text(entry.id)} does not follow {_id_text(after)}.")
        fields: list[bytes | str | int] = ["f", _flags(entry), "v", entry.version, "t", entry.commit_time_ms]
        if entry.markers:
            fields += ["m", pack_nonces(entry.markers)]
        if entry.access_cutover is not None:
            fields += ["a", access_text(entry.access_cutover)]
        for table, frames in entry.tables.items():
            fields += [f"T{table}", frames]
        for table, values in entry.filter_values.items():
            fields += [f"V{table}", values]
        self._appended_bytes += ENTRY_BYTES + sum(FIELD_BYTES + _size(field) for field in fields)
        async with _store_errors():
            new_id, owner = uuid.uuid4().hex, self._owner
            outcome, found = await self._append(
                keys=[self._key, self._tail_key, self._lease_key],
                args=[_id_text(after), _id_text(entry.id), _kind(entry), new_id, owner, log_id or "", *fields],
            )
        if outcome == b"led":
            raise LeaseLost
        if outcome == b"another":
            raise LogMismatch(ANOTHER_LOG)
        if outcome != b"ok":
            raise LogMismatch(f"The log ends at {found.decode() or 'nothing'}, not at {_id_text(after) or 'nothing'}.")
        self._doorbell.ring()
        return str(found.decode())

    async def extent(self) -> Extent:
        self._measured = None  # others may have appended to what the caller continues from
        async with _store_errors():
            found = await self._extent(keys=[self._key, self._tail_key])
        if not found:
            return Extent()
        first, flags, ends = found
        tail, whole, log_id = ends.split()
        return Extent(_id_of(first), _id_of(tail), b"s" in flags, _id_of(whole), log_id.decode())

    async def read(self, after: EntryId | None, limit: int) -> list[Entry]:
        low = "-" if after is None else f"({_id_text(after)}"
        async with _store_errors():
            found = await self._read(keys=[self._key], args=[low, limit, MAX_READ_BYTES])
        return [_entry_of(entry_id, dict(zip(fields[::2], fields[1::2], strict=True))) for entry_id, fields in found]

    @property
    def generation(self) -> int:
        return self._doorbell.generation

    async def wait(self, generation: int, timeout_seconds: float) -> None:
        await self._doorbell.wait(generation, timeout_seconds)

    async def trim(self) -> None:
        async with _store_errors():
            ends: Any = await self._redis.get(self._tail_key)
            if ends is None:
                return
            tail = _id_of(ends.split()[0])
            # The tail is never dropped: a writer continues from it.
            oldest = min(EntryId(Position(int(time.time() - self._max_age_seconds) << 32)), tail)
            await self._redis.xtrim(self._key, minid=_id_text(oldest), approximate=True)
            await self._trim_to_size()
            seconds = int(self._max_age_seconds)
            await self._redis.expire(self._key, seconds)
            await self._redis.expire(self._tail_key, seconds)

    async def _trim_to_size(self) -> None:
        """Drops the oldest entries until the rest fits: what is left may be larger entries than
        those that were dropped.

        Redis answers no other request while it measures (40 ms at 256 MiB). So it is only asked
        when the log may have become too large.
        """
        if self._measured is not None:
            size, appended_then = self._measured
            if size + self._appended_bytes - appended_then + NODE_BYTES <= self._max_bytes:
                return
        while True:
            appended_then = self._appended_bytes
            size = await self._memory_bytes()
            length = await self._redis.xlen(self._key)
            if size <= self._max_bytes or length <= 1:
                self._measured = size, appended_then
                return
            left = max(1, int(length * self._max_bytes / size * TRIMMED_FRACTION))
            await self._redis.xtrim(self._key, maxlen=left, approximate=False)

    async def _memory_bytes(self) -> int:
        # `samples=0` measures everything: samples would come from the oldest entries only.
        return await self._redis.memory_usage(self._key, samples=0) or 0

    async def acquire_lease(self, owner: str, seconds: float) -> bool:
        async with _store_errors():
            keys = [self._lease_key, self._standbys_key]
            is_acquired = bool(await self._acquire(keys=keys, args=[owner, int(seconds * 1000)]))
        if is_acquired:
            self._owner = owner
        return is_acquired

    async def release_lease(self, owner: str) -> None:
        async with _store_errors():
            await self._release(keys=[self._lease_key], args=[owner])

    async def leader(self) -> str | None:
        async with _store_errors():
            owner = cast("bytes | None", await self._redis.get(self._lease_key))
        return None if owner is None else owner.decode()

    async def leadership(self) -> Leadership:
        """Returns which watcher leads, and what is known of the others."""
        async with _store_errors():
            leader, left, standbys = await self._leadership(keys=[self._lease_key, self._standbys_key])
        return Leadership(leader.decode() or None, max(0, left) / 1000, standbys)

    async def close(self) -> None:
        await self._doorbell.close()
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()


@asynccontextmanager
async def _store_errors() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            yield
    except (TimeoutError, RedisError, OSError) as error:
        raise LogUnavailable(f"Redis refused a request or did not answer ({describe_failure(error)}).") from error


def _id_text(entry_id: EntryId | None) -> str:
    if entry_id is None:
        return ""
    return f"{entry_id.position.cluster_time}-{entry_id.position.ordinal << PART_BITS | entry_id.part}"


def _id_of(text: bytes) -> EntryId:
    cluster_time, _, rest = text.partition(b"-")
    number = int(rest)
    return EntryId(Position(int(cluster_time), number >> PART_BITS), number & ((1 << PART_BITS) - 1))


def _kind(entry: Entry) -> str:
    if entry.is_start:
        return "start"
    return "final" if entry.is_final else "part"


def _size(field: bytes | str | int) -> int:
    return len(field) if isinstance(field, bytes | str) else INTEGER_BYTES


def _flags(entry: Entry) -> str:
    return ("f" if entry.is_final else "") + ("s" if entry.is_start else "") + ("p" if entry.is_publish else "")


def access_text(cutover: AccessCutover) -> str:
    """Encodes a change of access as the log keeps it."""
    return f"{cutover.client_id} {cutover.nonce} {cutover.cluster_time}"


def access_cutover_of(text: bytes) -> AccessCutover:
    """Decodes what `access_text` encoded."""
    client_id, nonce, cluster_time = text.decode().split(" ")
    return AccessCutover(int(client_id), nonce, int(cluster_time))


def _entry_of(entry_id: bytes, fields: Mapping[bytes, Any]) -> Entry:
    return Entry(
        id=_id_of(entry_id),
        commit_time_ms=int(fields[b"t"]),
        tables={name[1:].decode(): frames for name, frames in fields.items() if name.startswith(b"T")},
        markers=unpack_nonces(fields[b"m"].decode()) if b"m" in fields else (),
        is_final=b"f" in fields[b"f"],
        is_start=b"s" in fields[b"f"],
        version=int(fields[b"v"]),
        is_publish=b"p" in fields[b"f"],
        previous=_id_of(fields[b"p"]) if fields[b"p"] else None,
        log_id=fields[b"l"].decode(),
        filter_values={name[1:].decode(): values for name, values in fields.items() if name.startswith(b"V")},
        access_cutover=access_cutover_of(fields[b"a"]) if b"a" in fields else None,
    )
