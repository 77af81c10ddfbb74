"""What a reader of the stream yields: entries, and the moments at which it finds nothing more."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from changesource.log.entries import Entry


@dataclass(frozen=True, slots=True)
class Lull:
    """Nothing more has come for now. It is the moment to look at the clock, and at what else has
    changed; nothing of it goes to the log or to a client."""


Reading: TypeAlias = Entry | Lull


async def entries_among(readings: AsyncGenerator[Reading, None]) -> AsyncGenerator[Entry, None]:
    """Yields the entries and leaves out the lulls. Closes `readings` when it is closed."""
    async with aclosing(readings):
        async for reading in readings:
            if isinstance(reading, Entry):
                yield reading
