"""Semaphores with a fair queue. `MemorySemaphores` and `RedisSemaphores` implement them, tested by
one contract suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ticket:
    """A claim to one slot of `semaphore`; `name` is unique within it. `group` is the client that
    the slot is for."""

    semaphore: str
    name: str
    group: str = ""


class Semaphores(Protocol):
    """Semaphores by name, each with slots that go round by group.

    A free slot goes to the group that holds the fewest slots of the semaphore. Among groups with
    equally many it goes to the one that has waited longest: since it last got a slot, or since its
    first ticket arrived if that was later. Within a group, tickets are served in the order in which
    they arrived. So while a group waits and holds no slot, each other group gets at most one slot
    before it, however many tickets that group has.

    No method raises because a store is away: the tickets of this process still count then.
    """

    async def acquire(self, ticket: Ticket, limit: int, limit_of_group: int) -> bool:
        """Whether `ticket` has one of the semaphore's `limit` slots, of which a group holds
        `limit_of_group` at most. It does not wait: the first call queues the ticket, which stays
        queued as long as it asks again or is renewed every now and then. A slot stays with its
        ticket until that is released."""

    async def renew(self, tickets: Collection[Ticket]) -> None:
        """Goes on holding the slots of `tickets`. A slot that got lost is taken again, even beyond
        the limits. What a group holds beyond its own limit takes no slot from other groups."""

    async def release(self, ticket: Ticket) -> None:
        """Gives up the slot of `ticket`, or its place in the queue, if it has one."""

    async def close(self) -> None:
        """Frees connections. Tickets are not released."""


class MemorySemaphores:
    """`Semaphores` within one process, whose end releases everything."""

    def __init__(self) -> None:
        self._semaphores: dict[str, _Semaphore] = {}

    async def acquire(self, ticket: Ticket, limit: int, limit_of_group: int) -> bool:
        semaphore = self._semaphores.setdefault(ticket.semaphore, _Semaphore())
        semaphore.queue(ticket)
        semaphore.give(limit, limit_of_group)
        return ticket.name in semaphore.holders

    async def renew(self, tickets: Collection[Ticket]) -> None:
        for ticket in tickets:
            self._semaphores.setdefault(ticket.semaphore, _Semaphore()).hold(ticket)

    async def release(self, ticket: Ticket) -> None:
        semaphore = self._semaphores.get(ticket.semaphore)
        if semaphore is None:
            return
        semaphore.remove(ticket)
        if semaphore.is_unused:
            del self._semaphores[ticket.semaphore]

    async def close(self) -> None:
        """There is no connection."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    group: str
    since: int


@dataclass(slots=True)
class _Semaphore:
    """One semaphore; `redis_semaphores` has the same in Lua. Events are numbered, and the numbers
    serve as the time."""

    now: int = 0
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    """By the ticket's name, in the order of arrival."""
    holders: dict[str, str] = field(default_factory=dict)
    """The name of each ticket with a slot → its group."""
    served_at: dict[str, int] = field(default_factory=dict)
    """When each group last got a slot."""

    @property
    def is_unused(self) -> bool:
        return not self.waiting and not self.holders

    def queue(self, ticket: Ticket) -> None:
        if ticket.name not in self.waiting and ticket.name not in self.holders:
            self.now += 1
            self.waiting[ticket.name] = _Waiting(ticket.group, self.now)

    def hold(self, ticket: Ticket) -> None:
        self.waiting.pop(ticket.name, None)
        self.holders[ticket.name] = ticket.group

    def remove(self, ticket: Ticket) -> None:
        self.waiting.pop(ticket.name, None)
        self.holders.pop(ticket.name, None)

    def give(self, limit: int, limit_of_group: int) -> None:
        """Gives the free slots to the tickets that come next."""
        while self._taken(limit_of_group) < limit and (name := self._next(limit_of_group)) is not None:
            self.now += 1
            group = self.waiting.pop(name).group
            self.holders[name] = group
            self.served_at[group] = self.now

    def _taken(self, limit_of_group: int) -> int:
        return sum(min(slots, limit_of_group) for slots in Counter(self.holders.values()).values())

    def _next(self, limit_of_group: int) -> str | None:
        slots = Counter(self.holders.values())

        def rank(name: str) -> tuple[int, int]:
            waiting = self.waiting[name]
            return slots[waiting.group], max(waiting.since, self.served_at.get(waiting.group, 0))

        # Tickets of equal rank are of one group; `min` takes the first that arrived.
        eligible = (name for name, waiting in self.waiting.items() if slots[waiting.group] < limit_of_group)
        return min(eligible, key=rank, default=None)
