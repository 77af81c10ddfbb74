"""The entries that a transaction replays, up to a barrier or up to what a majority has now.

A barrier is a marker that the session writes to the source and awaits in the change stream.

    source   ──a────b────c────M────d─────▶
    stream   ────────a────b────c────M────d────▶
                                    │
                                    everything written before the marker has been read

- Write a marker with a nonce of its own.
- Read entries until the transaction that holds this nonce has ended.
- Give up when no entry has come for `BARRIER_SECONDS`. A stream that lags, but moves, has time.

Without a marker, a session could only stop when it finds nothing more to read. But the log is
filled by another process, which may be behind:

    source   ──a────b────c─────────▶
    scan         a    b, c                 reads the source itself
    log      ────────a                     the watcher has not read b and c yet

A replay that stops after `a` lacks `b` and `c`, while the scan has read some of the documents that
they changed before, and some after: the rows belong to no single moment.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from changesource.errors import BarrierNotSeen
from changesource.log.entries import Entry
from changesource.mongo.markers import write_marker
from changesource.mongo.source import majority_cluster_time
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication.entry_reader import EntryReader
from changesource.replication.readings import Lull, Reading
from changesource.sessions.stream_context import StreamContext

BARRIER_SECONDS = 60.0
"""How long the stream may bring no entry at all before a marker is given up."""


async def entries_to_barrier(context: StreamContext, readings: AsyncIterator[Reading]) -> AsyncGenerator[Entry, None]:
    """Writes a marker when the first entry is asked for; ends with the transaction that holds it.

    Raises `BarrierNotSeen`, `SourceReadOnly` if no marker may be written, and what `readings` raises.
    """
    nonce = await write_marker(context.database, context.app_id, "barrier")
    deadline = time.monotonic() + BARRIER_SECONDS
    is_seen = False
    async for reading in readings:
        if isinstance(reading, Entry):
            deadline = time.monotonic() + BARRIER_SECONDS
            yield reading
            is_seen = is_seen or nonce in reading.markers
            if is_seen and reading.is_final:
                return
        elif time.monotonic() > deadline:
            break
    raise BarrierNotSeen(
        f"App {context.app_id}: a marker did not come back within {BARRIER_SECONDS:.0f} seconds. "
        "Check that the change stream of the source works (manage.py check_source)."
    )


async def entries_to_now(
    context: StreamContext, version: CompiledVersion, begin: Position
) -> AsyncGenerator[Entry, None]:
    """Entries after `begin`, up to what a majority has when the first one is asked for.

    For a source that may not be written to. They are read from MongoDB itself: the log's writer may
    be behind, and nothing tells by how much. Raises what `EntryReader` raises.
    """
    now = await majority_cluster_time(context.database)
    reader = EntryReader(context.source, version, begin.cluster_time, begin, known_until=now)
    async with aclosing(reader.readings()) as readings:
        async for reading in readings:
            if isinstance(reading, Lull):
                return
            yield reading
            if reading.is_final and reading.position.cluster_time > now:
                return
