"""Entries that tests write to a log."""

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from changesource.log.entries import AccessCutover, ChangeLog, Entry, EntryId, Extent
from changesource.protocol.watermarks import Position

NOW_SECONDS = int(time.time())


def cluster_time(step: int) -> int:
    """Returns the cluster time of a write that is `step` increments after a moment just now. (A log
    trims by age.)"""
    return (NOW_SECONDS << 32) + step


def place(step: int, ordinal: int = 0, part: int = 0) -> EntryId:
    return EntryId(Position(cluster_time(step), ordinal), part)


def start(step: int) -> Entry:
    """Returns the entry that a log begins with."""
    return Entry(id=place(step), commit_time_ms=0, is_start=True)


def entry(
    step: int,
    *,
    ordinal: int = 0,
    part: int = 0,
    tables: Mapping[str, bytes] | None = None,
    markers: Sequence[str] = (),
    access_cutover: AccessCutover | None = None,
    is_final: bool = True,
) -> Entry:
    return Entry(
        id=place(step, ordinal, part),
        commit_time_ms=1_700_000_000_000 + step,
        tables={} if tables is None else tables,
        markers=markers,
        access_cutover=access_cutover,
        is_final=is_final,
    )


async def fill(log: ChangeLog, *steps: int, size: int = 0) -> None:
    """Starts the log at the first step, and adds an entry with `size` bytes of frames for each of
    the others."""
    await log.append(start(steps[0]), None)
    for before, step in itertools.pairwise(steps):
        await log.append(entry(step, tables={"city": b"x" * size}), place(before))


async def places(log: ChangeLog) -> list[EntryId]:
    """Returns the places of the log's entries, in order."""
    return [found.id for found in await log.read(None, 10_000)]


async def ends(log: ChangeLog) -> Extent:
    """Returns the log's extent, without its id."""
    return replace(await log.extent(), log_id="")
