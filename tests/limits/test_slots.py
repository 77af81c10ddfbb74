"""The contract of `Slots`, on both implementations."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changesource.limits.redis_slots import RedisSlots
from changesource.limits.slots import MemorySlots, Place, Slots
from tests.examples import examples
from zerosources.embedded.servers import ValkeyServer

OpenSlots = Callable[..., Slots]
"""Opens the same lines, again at each call, as several processes would."""


@pytest.fixture(params=["memory", "redis"])
async def open_slots(request: pytest.FixtureRequest) -> AsyncIterator[OpenSlots]:
    memory = MemorySlots()
    opened: list[Slots] = []

    def open_slots() -> Slots:
        if request.param == "memory":
            return memory
        opened.append(RedisSlots(request.getfixturevalue("valkey_server").url))
        return opened[-1]

    yield open_slots
    for slots in opened:
        await slots.close()


@pytest.fixture
def places() -> list[Place]:
    """In one line."""
    line = uuid.uuid4().hex
    return [Place(line, f"holder {i}") for i in range(4)]


async def test_the_first_of_a_line_have_slots(open_slots: OpenSlots, places: list[Place]) -> None:
    """In the order in which they first asked, at any process."""
    one, another = open_slots(), open_slots()
    assert await one.ask(places[3], 2, 2)
    assert await another.ask(places[1], 2, 2)
    assert not await one.ask(places[2], 2, 2)
    assert not await another.ask(places[0], 2, 2)
    assert await one.ask(places[3], 2, 2)


async def test_turns_go_round_by_group(open_slots: OpenSlots) -> None:
    """A group whose places came first, however many, is served once before each other group is."""
    one, another = open_slots(), open_slots()
    line = uuid.uuid4().hex
    greedy = [Place(line, f"greedy {i}", "greedy") for i in range(3)]
    others = [Place(line, name, name) for name in ("second", "third")]
    served: list[Place] = []
    for place in [*greedy, *others]:
        await one.ask(place, 1, 1)
    while waiting := [place for place in [*others, *greedy] if place not in served]:
        [place] = [place for place in waiting if await another.ask(place, 1, 1)]
        served.append(place)
        await one.leave(place)
    assert served == [*greedy[:2], *others, greedy[2]]


async def test_a_group_leaves_slots_to_others(open_slots: OpenSlots) -> None:
    """It has no more than it may have, also while the rest is free, and another group needs not wait for it."""
    slots = open_slots()
    line = uuid.uuid4().hex
    greedy = [Place(line, f"greedy {i}", "greedy") for i in range(5)]
    assert [await slots.ask(place, 3, 2) for place in greedy] == [True, True, False, False, False]
    assert await slots.ask(Place(line, "other", "other"), 3, 2)
    await slots.leave(greedy[0])
    assert [await slots.ask(place, 3, 2) for place in greedy[1:]] == [True, True, False, False]


async def test_the_group_with_the_fewest_slots_comes_first(open_slots: OpenSlots) -> None:
    """A slot that gets free goes to the group that has none, also if another one has waited longer."""
    slots = open_slots()
    line = uuid.uuid4().hex
    first, second, third = [Place(line, f"first {i}", "first") for i in range(3)]
    other = Place(line, "other", "other")
    assert await slots.ask(first, 2, 2)
    assert await slots.ask(second, 2, 2)
    assert not await slots.ask(third, 2, 2)
    assert not await slots.ask(other, 2, 2)
    await slots.leave(second)
    assert not await slots.ask(third, 2, 2)
    assert await slots.ask(other, 2, 2)


async def test_who_leaves_makes_room_for_the_next(open_slots: OpenSlots, places: list[Place]) -> None:
    """Not for one that came later, whoever asks first."""
    one, another = open_slots(), open_slots()
    assert await one.ask(places[0], 1, 1)
    assert not await another.ask(places[1], 1, 1)
    assert not await one.ask(places[2], 1, 1)
    await one.leave(places[0])
    assert not await one.ask(places[2], 1, 1)
    assert await another.ask(places[1], 1, 1)


async def test_who_waits_may_go_away(open_slots: OpenSlots, places: list[Place]) -> None:
    """The next in line is served; leaving twice, or without having asked, does nothing."""
    slots = open_slots()
    assert await slots.ask(places[0], 1, 1)
    assert not await slots.ask(places[1], 1, 1)
    assert not await slots.ask(places[2], 1, 1)
    await slots.leave(places[1])
    await slots.leave(places[1])
    await slots.leave(places[3])
    await slots.leave(places[0])
    assert await slots.ask(places[2], 1, 1)


async def test_lines_are_apart(open_slots: OpenSlots, places: list[Place]) -> None:
    """Each has its own slots."""
    slots = open_slots()
    assert await slots.ask(places[0], 1, 1)
    assert await slots.ask(Place(uuid.uuid4().hex, places[0].holder), 1, 1)


async def test_a_kept_slot_stays(open_slots: OpenSlots, places: list[Place]) -> None:
    """Keeping changes nothing for others."""
    slots = open_slots()
    assert await slots.ask(places[0], 1, 1)
    await slots.keep([places[0]])
    assert not await slots.ask(places[1], 1, 1)
    await slots.leave(places[0])
    assert await slots.ask(places[1], 1, 1)


async def test_the_slots_of_a_process_that_died_get_free(valkey_server: ValkeyServer, places: list[Place]) -> None:
    """After the expiry; those that are kept do not."""
    dead = RedisSlots(valkey_server.url, expiry_seconds=0.3)
    alive = RedisSlots(valkey_server.url, expiry_seconds=0.3)
    assert await dead.ask(places[0], 2, 2)
    assert await alive.ask(places[1], 2, 2)
    await dead.close()
    async with asyncio.timeout(5):
        while not await alive.ask(places[2], 2, 2):
            await alive.keep([places[1]])
            await asyncio.sleep(0.02)
    assert not await alive.ask(places[3], 2, 2)
    await alive.close()


async def test_a_slot_that_redis_lost_is_held_again(valkey_server: ValkeyServer, places: list[Place]) -> None:
    """Redis was emptied, and another place came before the slot was kept again: both count."""
    one, another = RedisSlots(valkey_server.url), RedisSlots(valkey_server.url)
    assert await another.ask(places[1], 1, 1)
    await one.keep([places[0]])
    await another.leave(places[1])
    assert not await another.ask(places[2], 1, 1)
    await one.leave(places[0])
    assert await another.ask(places[2], 1, 1)
    await one.close()
    await another.close()


async def test_a_process_that_counts_alone_knows_what_runs_there(run_dir: Path, places: list[Place]) -> None:
    """When Redis goes away, what it has given here is not given again."""
    with ValkeyServer(run_dir / "valkey-that-goes") as valkey:
        slots = RedisSlots(valkey.url)
        assert await slots.ask(places[0], 1, 1)
        assert not await slots.ask(places[2], 1, 1)
    assert not await slots.ask(places[2], 1, 1)
    await slots.leave(places[0])
    assert await slots.ask(places[2], 1, 1)
    await slots.close()


async def test_without_redis_a_process_counts_alone(places: list[Place], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is refused for that which would not be otherwise, and Redis is left alone for a while."""
    slots = RedisSlots("redis://127.0.0.1:1/0")
    assert await slots.ask(places[0], 1, 1)
    assert not await slots.ask(places[1], 1, 1)
    await slots.keep([places[0]])
    await slots.leave(places[0])
    assert await slots.ask(places[1], 1, 1)
    assert len(caplog.records) == 1
    await slots.close()


# Fairness

LIMIT, LIMIT_OF_GROUP = 3, 2
GROUPS = ("a", "b", "c", "d")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from(GROUPS)),
        st.tuples(st.just("ask"), st.integers(0, 30)),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("keep"), st.integers(0, 30)),
    ),
    max_size=60,
)
"""What happens in a line; numbers choose among the places that are there."""


class Observer:
    """One line, seen from outside: what is promised of it is checked after each step."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.line = uuid.uuid4().hex
        self.places: list[Place] = []
        self.with_slot: set[Place] = set()
        self.passed: dict[Place, Counter[str]] = {}
        """How often each other group got a slot while a place waited whose group had none."""
        self.answers: list[list[bool]] = []

    async def take(self, step: tuple[str, Any]) -> None:
        what, which = step
        if what == "come":
            self.places.append(Place(self.line, f"holder {uuid.uuid4().hex}", which))
        elif self.places:
            place = self.places[which % len(self.places)]
            if what == "leave":
                self.places.remove(place)
                self.with_slot.discard(place)
                self.passed.pop(place, None)
                await self.slots.leave(place)
            elif what == "keep" and place in self.with_slot:
                await self.slots.keep([place])
            elif what == "ask":
                await self.slots.ask(place, LIMIT, LIMIT_OF_GROUP)
        await self._look()

    async def _look(self) -> None:
        given = {place: await self.slots.ask(place, LIMIT, LIMIT_OF_GROUP) for place in self.places}
        given = {place: await self.slots.ask(place, LIMIT, LIMIT_OF_GROUP) for place in given}
        new = [place for place, has_slot in given.items() if has_slot and place not in self.with_slot]
        self.answers.append(list(given.values()))
        assert all(given[place] for place in self.with_slot), "a slot was taken away"
        before = Counter(place.group for place in self.with_slot)
        self.with_slot |= set(new)
        slots = Counter(place.group for place in self.with_slot)
        assert slots.total() <= LIMIT
        assert all(count <= LIMIT_OF_GROUP for count in slots.values())
        waiting = [place for place in self.places if place not in self.with_slot]
        if slots.total() < LIMIT:
            assert all(slots[place.group] == LIMIT_OF_GROUP for place in waiting), "a slot is free for nothing"
        for place in waiting:
            if slots[place.group]:
                self.passed.pop(place, None)  # its group is being served
                continue
            passed = self.passed.setdefault(place, Counter())
            if not before[place.group]:
                passed.update(other.group for other in new)
            assert all(count <= 1 for count in passed.values()), f"{place.group} was passed twice: {passed}"
        assert [place for place in waiting if place in given] == waiting
        for group in GROUPS:
            of_group = [place for place in self.places if place.group == group]
            assert [place in self.with_slot for place in of_group] == sorted(
                (place in self.with_slot for place in of_group), reverse=True
            ), "a place was passed by one of its own group"


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_nobody_waits_for_the_places_of_another(kind: str, request: pytest.FixtureRequest) -> None:
    """Whatever happens: the limits hold, no slot is free that a place may have, a slot that was given stays given, a group is
    served in order, and a group without a slot is passed at most once by each other group. Redis gives what memory gives."""
    url = request.getfixturevalue("valkey_server").url if kind == "redis" else ""

    @settings(max_examples=60 if url else examples(300), deadline=None)
    @given(STEPS)
    def holds(steps: list[tuple[str, Any]]) -> None:
        asyncio.run(check(steps))

    async def check(steps: list[tuple[str, Any]]) -> None:
        memory = Observer(MemorySlots())
        shared = Observer(RedisSlots(url)) if url else None
        for step in steps:
            await memory.take(step)
            if shared is not None:
                await shared.take(step)
        if shared is not None:
            await shared.slots.close()
            assert shared.answers == memory.answers

    holds()
