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
    """Takes batches in order and gives parts in order. Between calls it holds at most one unfinished transaction."""

    def __init__(self, max_held_events: int = MAX_HELD_EVENTS) -> None:
        self._max_held_events = max_held_events
        self._held: list[ChangeEvent] = []
        self._open_cluster_time: int | None = None
        self._next_index = 0

    @property
    def is_holding(self) -> bool:
        """Whether a transaction's end is not known yet: then it is worth asking for more without waiting."""
        return bool(self._held) or self._open_cluster_time is not None

    def add(self, events: Sequence[ChangeEvent]) -> list[Part]:
        """The parts that can go out now that `events`, a whole batch, are known."""
        if not events:
            return []
        parts: list[Part] = []
        remaining = [*self._held, *events]
        self._held = []
        if self._open_cluster_time is not None:
            same = _count_at(remaining, self._open_cluster_time)
            if same == len(remaining):
                self._held = remaining
                return [self._release_held()] if same >= self._max_held_events else []
            parts.append(self._close_open(remaining[:same]))
            remaining = remaining[same:]
        ready, self._held = _split_trailing_transaction(remaining)
        if ready:
            parts.append(Part(ready, ready[-1].cluster_time))
        if len(self._held) >= self._max_held_events:
            parts.append(self._release_held())
        return parts

    def finish(self) -> list[Part]:
        """The parts that can go out now that the stream was read to its end."""
        if self._open_cluster_time is not None:
            held, self._held = self._held, []
            return [self._close_open(held)]
        if self._held:
            held, self._held = self._held, []
            return [Part(held, held[-1].cluster_time)]
        return []

    def _release_held(self) -> Part:
        held, self._held = self._held, []
        self._open_cluster_time = held[-1].cluster_time
        part = Part(held, self._open_cluster_time, self._next_index, is_final=False)
        self._next_index += 1
        return part

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
