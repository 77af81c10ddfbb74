"""Making what fails smaller."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def shrink(items: Sequence[Item], fails: Callable[[Sequence[Item]], bool], *, attempts: int = 1_000) -> list[Item]:
    """A part of `items`, in their order, that still fails: shorter beginnings first, then without ever smaller pieces.

    No single item can be taken away from it, if `attempts` were enough: so often `fails` is asked at most.
    """
    left = [attempts]

    def still_fails(part: Sequence[Item]) -> bool:
        if not part or left[0] == 0:
            return False
        left[0] -= 1
        return fails(part)

    return without_pieces(shortest_beginning(list(items), still_fails), still_fails)


def shortest_beginning(items: list[Item], fails: Callable[[Sequence[Item]], bool]) -> list[Item]:
    """By halves: what fails early is found early, and where it depends on luck the longer one is kept."""
    shortest_that_passes = 0
    while len(items) - shortest_that_passes > 1:
        middle = (shortest_that_passes + len(items)) // 2
        if fails(items[:middle]):
            items = items[:middle]
        else:
            shortest_that_passes = middle
    return items


def without_pieces(items: list[Item], fails: Callable[[Sequence[Item]], bool]) -> list[Item]:
    size = len(items) // 2
    while size:
        start = 0
        was_smaller = False
        while start < len(items):
            rest = items[:start] + items[start + size :]
            if fails(rest):
                items, was_smaller = rest, True
            else:
                start += size
        size = min(size, len(items)) if was_smaller and size == 1 else size // 2
    return items
