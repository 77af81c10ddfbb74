"""Batches of events → transactions and their parts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from changesource.mongo.events import ChangeEvent

MAX_HELD_EVENTS = 2_000
"""How many events of an unfinished transaction are held before they go out as a part."""
MAX_HELD_BYTES = 16 * 2**20
"""The same limit in bytes of BSON, as much as one reply of MongoDB holds. Python objects take
several times as much."""


@dataclass(frozen=True, slots=True)
class Part:
    """Events that belong to one Zero transaction, of which they are the part `index`, and the last
    part if `is_final`.

    All parts of a transaction have the same cluster time. A final part may be empty: it only ends
    the transaction.
    """

    events: Sequence[ChangeEvent]
    cluster_time: int
    index: int = 0
    is_final: bool = True


class TransactionAssembler:
    """Takes batches in order and returns parts in order.

    A batch is the unit of commit: everything in it becomes one Zero transaction. The exception is a
    MongoDB transaction, which must not be split but may span batches. Nothing marks its last event:

        time ──▶
        events     a₁  t₂  t₂   t₂  t₂   c₃     the index is the cluster time; t: one transaction
        batches   [a₁  t₂  t₂] [t₂  t₂] [c₃]
        parts     [a₁]          –       [t₂ t₂ t₂ t₂ c₃]
        naive     [a₁  t₂  t₂] [t₂  t₂] [c₃]    a commit for each batch shows half a transaction

    - The events of a MongoDB transaction share one cluster time and say that they are
      `in_transaction`. If such an event is among the events of the last cluster time, those are
      held.
    - A later batch ends the transaction if it goes on to a later cluster time: the held events then
      go out with the others.
    - If no event follows, an empty reply ends it (`finish`): MongoDB shows all events of a
      transaction at once, so a stream that has been read to its end does not stop within one. A
      batch without events of interest ends nothing.
    - A transaction that exceeds `max_held_events` or `max_held_bytes` goes out in several parts
      with one cluster time. Only the last part is final, and it is empty if nothing was left.
    - In a sharded cluster several transactions can share a cluster time with their events mixed,
      and with other events. They all stay together. Events that share a cluster time without any
      transaction (those of one insertMany, for instance) are not held.
    """

    def __init__(self, max_held_events: int = MAX_HELD_EVENTS, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_held_events = max_held_events
        self._max_held_bytes = max_held_bytes
        self._held: list[ChangeEvent] = []
        self._held_bytes = 0
        self._open_cluster_time: int | None = None
        self._next_index = 0

    @property
    def is_holding(self) -> bool:
        """Whether the end of a transaction is not known yet, so that the next batch should be
        requested without waiting."""
        return bool(self._held) or self._open_cluster_time is not None

    def add(self, events: Sequence[ChangeEvent], size: int = 0) -> list[Part]:
        """Adds `events`, a whole batch of `size` bytes, and returns the parts that can go out."""
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
        self._held_bytes = self._held_bytes * len(self._held) // count  # as if all events had the same size
        if self._has_enough:
            parts.append(self._release_held())
        return parts

    def finish(self) -> list[Part]:
        """Returns the parts that can go out because the stream has been read to its end."""
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
        assert self._open_cluster_time is not None  # noqa: S101 (both callers have checked)
        part = Part(events, self._open_cluster_time, self._next_index)
        self._open_cluster_time, self._next_index = None, 0
        return part


def _count_at(events: Sequence[ChangeEvent], cluster_time: int) -> int:
    for count, event in enumerate(events):
        if event.cluster_time != cluster_time:
            return count
    return len(events)


def _split_trailing_transaction(events: list[ChangeEvent]) -> tuple[list[ChangeEvent], list[ChangeEvent]]:
    """Splits off the events of the last cluster time if a transaction is among them; everything
    before is complete."""
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
