"""Lines of those who have a slot and of those who wait for one. `MemorySlots` and `RedisSlots` keep them, with one set of
tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """`holder`, a name of its own, in `line`. `group` is the client on whose behalf it stands there."""

    line: str
    holder: str
    group: str = ""


class Slots(Protocol):
    """Lines in which turns go round by group.

    A free slot goes to the group that has the fewest slots in the line. Among groups with equally many it goes to the one
    that has waited longest: since its last slot was given, or since its first place came if that was later. Within a group
    the place that came first is served first. So a group that waits and has no slot is passed at most once by each other
    group, however many places those have.

    No method raises because a store is away: the places of this process still count then.
    """

    async def ask(self, place: Place, limit: int, limit_of_group: int) -> bool:
        """Whether `place` has one of the `limit` slots of its line, of which a group has `limit_of_group` at most. From the
        first call on the place waits in the line; it has to ask, or to be kept, every now and then to stay there. A slot
        that was given stays given until the place is left."""

    async def keep(self, places: Collection[Place]) -> None:
        """Goes on holding slots that were given. One that got lost is held again, also beyond the limits."""

    async def leave(self, place: Place) -> None:
        """Gives the slot, or the place among those that wait, up, if there is one."""

    async def close(self) -> None:
        """Frees connections; the places stay."""


class MemorySlots:
    """Keeps the `Slots` contract within one process, whose end ends everything."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    async def ask(self, place: Place, limit: int, limit_of_group: int) -> bool:
        line = self._lines.setdefault(place.line, _Line())
        line.add(place)
        line.give(limit, limit_of_group)
        return place.holder in line.groups_with_slot

    async def keep(self, places: Collection[Place]) -> None:
        for place in places:
            self._lines.setdefault(place.line, _Line()).hold(place)

    async def leave(self, place: Place) -> None:
        line = self._lines.get(place.line)
        if line is None:
            return
        line.remove(place)
        if line.is_empty:
            del self._lines[place.line]

    async def close(self) -> None:
        """There is no connection."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    group: str
    since: int


@dataclass(slots=True)
class _Line:
    """One line; `redis_slots` has the same in Lua. What happens is numbered, which serves as the time."""

    now: int = 0
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    """By holder, in the order in which they came."""
    groups_with_slot: dict[str, str] = field(default_factory=dict)
    """Group by holder."""
    served_at: dict[str, int] = field(default_factory=dict)
    """When each group was last given a slot."""

    @property
    def is_empty(self) -> bool:
        return not self.waiting and not self.groups_with_slot

    def add(self, place: Place) -> None:
        if place.holder not in self.waiting and place.holder not in self.groups_with_slot:
            self.now += 1
            self.waiting[place.holder] = _Waiting(place.group, self.now)

    def hold(self, place: Place) -> None:
        self.waiting.pop(place.holder, None)
        self.groups_with_slot[place.holder] = place.group

    def remove(self, place: Place) -> None:
        self.waiting.pop(place.holder, None)
        self.groups_with_slot.pop(place.holder, None)

    def give(self, limit: int, limit_of_group: int) -> None:
        """Gives the free slots to the places whose turn it is."""
        while len(self.groups_with_slot) < limit and (holder := self._next(limit_of_group)) is not None:
            self.now += 1
            group = self.waiting.pop(holder).group
            self.groups_with_slot[holder] = group
            self.served_at[group] = self.now

    def _next(self, limit_of_group: int) -> str | None:
        slots = Counter(self.groups_with_slot.values())

        def turn(holder: str) -> tuple[int, int]:
            waiting = self.waiting[holder]
            return slots[waiting.group], max(waiting.since, self.served_at.get(waiting.group, 0))

        # Of places with the same turn, which are of one group, `min` takes the first that came.
        may = (holder for holder, waiting in self.waiting.items() if slots[waiting.group] < limit_of_group)
        return min(may, key=turn, default=None)
