"""Places in lines, the first of which may go on. `MemorySlots` and `RedisSlots` keep them, with one set of tests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Where `holder`, a name of its own, stands in `line`."""

    line: str
    holder: str


class Slots(Protocol):
    """Lines of those who have a slot, in front, and of those who wait for one, in the order in which they came.

    No method raises because a store is away: who is in this process still counts then.
    """

    async def ask(self, place: Place, limit: int) -> bool:
        """Whether `place` is among the first `limit` of its line. From the first call on it stands there, at the end; it
        has to ask, or to be kept, every now and then to go on standing."""

    async def keep(self, places: Collection[Place]) -> None:
        """Goes on holding slots that were given. One that got lost stands in front again."""

    async def leave(self, place: Place) -> None:
        """Gives the place up, if it is held."""

    async def close(self) -> None:
        """Frees connections; the places stay."""


class MemorySlots:
    """Keeps the `Slots` contract within one process, whose end ends everything."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[str, None]] = {}

    async def ask(self, place: Place, limit: int) -> bool:
        line = self._lines.setdefault(place.line, {})
        line.setdefault(place.holder)
        return place.holder in list(line)[:limit]

    async def keep(self, places: Collection[Place]) -> None:
        """Nothing gets lost here."""

    async def leave(self, place: Place) -> None:
        line = self._lines.get(place.line, {})
        line.pop(place.holder, None)
        if not line:
            self._lines.pop(place.line, None)

    async def close(self) -> None:
        """There is no connection."""
