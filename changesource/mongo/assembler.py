"""Batches of events → transactions. Pure.

A batch is the unit of commit: all that it holds becomes one Zero transaction, except that a MongoDB transaction is never
split. Its events share their cluster time and say that they belong to a transaction; it may span batches, and its end is
known only from what follows: an event of a later cluster time, or a reply that says that the stream was read to its end.
In a sharded cluster several transactions can share a cluster time, and their events can be mixed; they stay together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from changesource.mongo.events import ChangeEvent

MAX_HELD_EVENTS = 2_000
"""Events of an unfinished transaction that are held before they go out as a part."""
MAX_HELD_BYTES = 16 * 2**20
"""The same in bytes of BSON, of which Python makes several times as many. It is what one reply of MongoDB holds."""


@dataclass(frozen=True, slots=True)
class Part:
    """Events that belong into one Zero transaction: the part `index` of it, and the last if `is_final`.

    Parts of one transaction have the same cluster time. A final part may be empty: it only ends the transaction.
    """

    events: Sequence[ChangeEvent]
    cluster_time: int
    index: int = 0
    is_final: bool = True


class TransactionAssembler:
    """Takes batches in order and gives parts in order. Between calls it holds at most one unfinished transaction, and of that
    less than `max_held_events` and `max_held_bytes`."""

    def __init__(self, max_held_events: int = MAX_HELD_EVENTS, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_held_events = max_held_events
        self._max_held_bytes = max_held_bytes
        self._held: list[ChangeEvent] = []
        self._held_bytes = 0
        self._open_cluster_time: int | None = None
        self._next_index = 0

    @property
    def is_holding(self) -> bool:
        """Whether a transaction's end is not known yet: then it is worth asking for more without waiting."""
        return bool(self._held) or self._open_cluster_time is not None

    def add(self, events: Sequence[ChangeEvent], size: int = 0) -> list[Part]:
        """The parts that can go out now that `events`, a whole batch of `size` bytes, are known."""
        if not events:
            return []
        parts: list[Part] = []
        remaining = [*self._held, *events]
        count = len(remaining)
        self._held = []
        self._held_bytes += size
        if self._open_cluster_time is not None:
            same = _count_at(remaining, self._open_cluster_time)
            if same == len(remaining):
                self._held = remaining
                return [self._release_held()] if self._has_enough else []
            parts.append(self._close_open(remaining[:same]))
            remaining = remaining[same:]
        ready, self._held = _split_trailing_transaction(remaining)
        if ready:
            parts.append(Part(ready, ready[-1].cluster_time))
        self._held_bytes = self._held_bytes * len(self._held) // count  # as if all events were of one size
        if self._has_enough:
            parts.append(self._release_held())
        return parts

    def finish(self) -> list[Part]:
        """The parts that can go out now that the stream was read to its end."""
        if self._open_cluster_time is not None:
            return [self._close_open(self._take_held())]
        if self._held:
            held = self._take_held()
            return [Part(held, held[-1].cluster_time)]
        return []

    @property
    def _has_enough(self) -> bool:
        return bool(self._held) and (
            len(self._held) >= self._max_held_events or self._held_bytes >= self._max_held_bytes
        )

    def _release_held(self) -> Part:
        held = self._take_held()
        self._open_cluster_time = held[-1].cluster_time
        part = Part(held, self._open_cluster_time, self._next_index, is_final=False)
        self._next_index += 1
        return part

    def _take_held(self) -> list[ChangeEvent]:
        held, self._held, self._held_bytes = self._held, [], 0
        return held

    def _close_open(self, events: Sequence[ChangeEvent]) -> Part:
        assert self._open_cluster_time is not None  # noqa: S101 (both callers asked)
        part = Part(events, self._open_cluster_time, self._next_index)
        self._open_cluster_time, self._next_index = None, 0
        return part


def _count_at(events: Sequence[ChangeEvent], cluster_time: int) -> int:
    for count, event in enumerate(events):
        if event.cluster_time != cluster_time:
            return count
    return len(events)


def _split_trailing_transaction(events: list[ChangeEvent]) -> tuple[list[ChangeEvent], list[ChangeEvent]]:
    """What is complete, and the events of the last cluster time if a transaction is among them."""
    if not events:
        return [], []
    last = events[-1].cluster_time
    start = len(events)
    has_transaction = False
    while start and events[start - 1].cluster_time == last:
        start -= 1
        has_transaction = has_transaction or events[start].in_transaction
    if not has_transaction:
        return events, []
    return events[:start], events[start:]
