"""housekeeping.py: cyclic garbage is collected, and nothing is held up while many objects are
created."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from changesource import housekeeping
from changesource.housekeeping import GarbageCollection


class Node:
    """An object in a cycle with itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def collection() -> Iterator[GarbageCollection]:
    found = GarbageCollection()
    found.begin()
    yield found
    found.end()


async def test_cycles_are_collected_when_it_is_time(
    collection: GarbageCollection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even those that outlived the young objects they were created with; not before the time."""
    node = Node()
    reference = weakref.ref(node)
    gc.collect(0)
    del node
    await collection.collect_if_due()
    assert reference() is not None
    monkeypatch.setattr(collection, "_collect_at", 0.0)
    await collection.collect_if_due()
    assert reference() is None


def test_only_young_objects_are_examined_meanwhile(collection: GarbageCollection) -> None:
    """However many objects are created."""
    generations: set[int] = set()

    def note(phase: str, information: dict[str, int]) -> None:
        generations.add(information["generation"])

    gc.callbacks.append(note)
    made = [[number] for number in range(20 * housekeeping.YOUNG_OBJECTS)]
    gc.callbacks.remove(note)
    assert made
    assert generations == {0}


def test_end_restores_what_begin_changed() -> None:
    """The thresholds are restored, and all objects are examined again."""
    before = gc.get_threshold()
    collection = GarbageCollection()
    collection.begin()
    assert gc.get_freeze_count() > 0
    collection.end()
    collection.end()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
