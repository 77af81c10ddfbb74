"""The contract of `Slots`, on both implementations."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable

import pytest

from changesource.limits.redis_slots import RedisSlots
from changesource.limits.slots import MemorySlots, Place, Slots
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
    assert await one.ask(places[3], 2)
    assert await another.ask(places[1], 2)
    assert not await one.ask(places[2], 2)
    assert not await another.ask(places[0], 2)
    assert await one.ask(places[3], 2)


async def test_who_leaves_makes_room_for_the_next(open_slots: OpenSlots, places: list[Place]) -> None:
    """Not for one that came later, whoever asks first."""
    one, another = open_slots(), open_slots()
    assert await one.ask(places[0], 1)
    assert not await another.ask(places[1], 1)
    assert not await one.ask(places[2], 1)
    await one.leave(places[0])
    assert not await one.ask(places[2], 1)
    assert await another.ask(places[1], 1)


async def test_who_waits_may_go_away(open_slots: OpenSlots, places: list[Place]) -> None:
    """The next in line is served; leaving twice, or without having asked, does nothing."""
    slots = open_slots()
    assert await slots.ask(places[0], 1)
    assert not await slots.ask(places[1], 1)
    assert not await slots.ask(places[2], 1)
    await slots.leave(places[1])
    await slots.leave(places[1])
    await slots.leave(places[3])
    await slots.leave(places[0])
    assert await slots.ask(places[2], 1)


async def test_lines_are_apart(open_slots: OpenSlots, places: list[Place]) -> None:
    """Each has its own slots."""
    slots = open_slots()
    assert await slots.ask(places[0], 1)
    assert await slots.ask(Place(uuid.uuid4().hex, places[0].holder), 1)


async def test_a_kept_slot_stays(open_slots: OpenSlots, places: list[Place]) -> None:
    """Keeping changes nothing for others."""
    slots = open_slots()
    assert await slots.ask(places[0], 1)
    await slots.keep([places[0]])
    assert not await slots.ask(places[1], 1)
    await slots.leave(places[0])
    assert await slots.ask(places[1], 1)


async def test_the_slots_of_a_process_that_died_get_free(valkey_server: ValkeyServer, places: list[Place]) -> None:
    """After the expiry; those that are kept do not."""
    dead = RedisSlots(valkey_server.url, expiry_seconds=0.3)
    alive = RedisSlots(valkey_server.url, expiry_seconds=0.3)
    assert await dead.ask(places[0], 2)
    assert await alive.ask(places[1], 2)
    await dead.close()
    async with asyncio.timeout(5):
        while not await alive.ask(places[2], 2):
            await alive.keep([places[1]])
            await asyncio.sleep(0.02)
    assert not await alive.ask(places[3], 2)
    await alive.close()


async def test_a_slot_that_redis_lost_is_in_front_again(valkey_server: ValkeyServer, places: list[Place]) -> None:
    """Redis was emptied, and somebody came before the slot was kept again."""
    one, another = RedisSlots(valkey_server.url), RedisSlots(valkey_server.url)
    assert await another.ask(places[1], 1)
    await one.keep([places[0]])
    assert not await another.ask(places[1], 1)
    await one.leave(places[0])
    await one.close()
    await another.close()


async def test_without_redis_a_process_counts_alone(places: list[Place], caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is refused for that which would not be otherwise, and Redis is left alone for a while."""
    slots = RedisSlots("redis://127.0.0.1:1/0")
    assert await slots.ask(places[0], 1)
    assert not await slots.ask(places[1], 1)
    await slots.keep([places[0]])
    await slots.leave(places[0])
    assert await slots.ask(places[1], 1)
    assert len(caplog.records) == 1
    await slots.close()
