"""The contract of `Semaphores`, on both implementations."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from changesource.limits.redis_semaphores import RedisSemaphores
from changesource.limits.semaphores import MemorySemaphores, Semaphores, Ticket
from tests.examples import examples
from zerosources.embedded.servers import ValkeyServer

OpenSemaphores = Callable[..., Semaphores]
"""Opens the same semaphores at each call, as several processes would."""


@pytest.fixture(params=["memory", "redis"])
async def open_semaphores(request: pytest.FixtureRequest) -> AsyncIterator[OpenSemaphores]:
    memory = MemorySemaphores()
    opened: list[Semaphores] = []

    def open_semaphores() -> Semaphores:
        if request.param == "memory":
            return memory
        opened.append(RedisSemaphores(request.getfixturevalue("valkey_server").url))
        return opened[-1]

    yield open_semaphores
    for semaphores in opened:
        await semaphores.close()


@pytest.fixture
def tickets() -> list[Ticket]:
    """Of one semaphore."""
    semaphore = uuid.uuid4().hex
    return [Ticket(semaphore, f"ticket {i}") for i in range(4)]


async def test_the_first_tickets_of_a_queue_have_slots(open_semaphores: OpenSemaphores, tickets: list[Ticket]) -> None:
    """In the order of their first calls, at any process."""
    one, another = open_semaphores(), open_semaphores()
    assert await one.acquire(tickets[3], 2, 2)
    assert await another.acquire(tickets[1], 2, 2)
    assert not await one.acquire(tickets[2], 2, 2)
    assert not await another.acquire(tickets[0], 2, 2)
    assert await one.acquire(tickets[3], 2, 2)


async def test_slots_go_round_by_group(open_semaphores: OpenSemaphores) -> None:
    """A group whose tickets arrived first, however many, is served once before every other group is."""
    one, another = open_semaphores(), open_semaphores()
    semaphore = uuid.uuid4().hex
    greedy = [Ticket(semaphore, f"greedy {i}", "greedy") for i in range(3)]
    others = [Ticket(semaphore, name, name) for name in ("second", "third")]
    served: list[Ticket] = []
    for ticket in [*greedy, *others]:
        await one.acquire(ticket, 1, 1)
    while waiting := [ticket for ticket in [*others, *greedy] if ticket not in served]:
        [ticket] = [ticket for ticket in waiting if await another.acquire(ticket, 1, 1)]
        served.append(ticket)
        await one.release(ticket)
    assert served == [*greedy[:2], *others, greedy[2]]


async def test_a_group_leaves_slots_to_others(open_semaphores: OpenSemaphores) -> None:
    """It never has more than its limit, even while other slots are free, so another group need not wait for it."""
    semaphores = open_semaphores()
    semaphore = uuid.uuid4().hex
    greedy = [Ticket(semaphore, f"greedy {i}", "greedy") for i in range(5)]
    assert [await semaphores.acquire(ticket, 3, 2) for ticket in greedy] == [True, True, False, False, False]
    assert await semaphores.acquire(Ticket(semaphore, "other", "other"), 3, 2)
    await semaphores.release(greedy[0])
    assert [await semaphores.acquire(ticket, 3, 2) for ticket in greedy[1:]] == [True, True, False, False]


async def test_what_a_group_holds_beyond_its_limit_takes_no_slot_from_others(open_semaphores: OpenSemaphores) -> None:
    """Processes that counted alone while Redis was away gave one group slots each. When they share Redis again, another
    group need not wait until all of these are released."""
    one, another = open_semaphores(), open_semaphores()
    semaphore = uuid.uuid4().hex
    greedy = [Ticket(semaphore, f"greedy {i}", "greedy") for i in range(6)]
    other = [Ticket(semaphore, f"other {i}", "other") for i in range(3)]
    await one.renew(greedy[:3])
    await another.renew(greedy[3:])
    assert [await one.acquire(ticket, 4, 3) for ticket in other] == [True, False, False]
    assert all([await one.acquire(ticket, 4, 3) for ticket in greedy])
    for ticket in greedy[:5]:
        await one.release(ticket)
    assert [await one.acquire(ticket, 4, 3) for ticket in other] == [True, True, True]


async def test_the_group_with_the_fewest_slots_comes_first(open_semaphores: OpenSemaphores) -> None:
    """A free slot goes to the group that has none, even if another group has waited longer."""
    semaphores = open_semaphores()
    semaphore = uuid.uuid4().hex
    first, second, third = [Ticket(semaphore, f"first {i}", "first") for i in range(3)]
    other = Ticket(semaphore, "other", "other")
    assert await semaphores.acquire(first, 2, 2)
    assert await semaphores.acquire(second, 2, 2)
    assert not await semaphores.acquire(third, 2, 2)
    assert not await semaphores.acquire(other, 2, 2)
    await semaphores.release(second)
    assert not await semaphores.acquire(third, 2, 2)
    assert await semaphores.acquire(other, 2, 2)


async def test_a_released_slot_goes_to_the_next_in_the_queue(
    open_semaphores: OpenSemaphores, tickets: list[Ticket]
) -> None:
    """Never to a ticket that arrived later, whichever asks first."""
    one, another = open_semaphores(), open_semaphores()
    assert await one.acquire(tickets[0], 1, 1)
    assert not await another.acquire(tickets[1], 1, 1)
    assert not await one.acquire(tickets[2], 1, 1)
    await one.release(tickets[0])
    assert not await one.acquire(tickets[2], 1, 1)
    assert await another.acquire(tickets[1], 1, 1)


async def test_a_ticket_may_leave_the_queue(open_semaphores: OpenSemaphores, tickets: list[Ticket]) -> None:
    """The next one is served. Releasing a ticket twice, or one that was never queued, does nothing."""
    semaphores = open_semaphores()
    assert await semaphores.acquire(tickets[0], 1, 1)
    assert not await semaphores.acquire(tickets[1], 1, 1)
    assert not await semaphores.acquire(tickets[2], 1, 1)
    await semaphores.release(tickets[1])
    await semaphores.release(tickets[1])
    await semaphores.release(tickets[3])
    await semaphores.release(tickets[0])
    assert await semaphores.acquire(tickets[2], 1, 1)


async def test_semaphores_are_separate(open_semaphores: OpenSemaphores, tickets: list[Ticket]) -> None:
    """Each has its own slots."""
    semaphores = open_semaphores()
    assert await semaphores.acquire(tickets[0], 1, 1)
    assert await semaphores.acquire(Ticket(uuid.uuid4().hex, tickets[0].name), 1, 1)


async def test_a_renewed_slot_stays(open_semaphores: OpenSemaphores, tickets: list[Ticket]) -> None:
    """Renewing changes nothing for others."""
    semaphores = open_semaphores()
    assert await semaphores.acquire(tickets[0], 1, 1)
    await semaphores.renew([tickets[0]])
    assert not await semaphores.acquire(tickets[1], 1, 1)
    await semaphores.release(tickets[0])
    assert await semaphores.acquire(tickets[1], 1, 1)


async def test_the_slots_of_a_process_that_died_get_free(valkey_server: ValkeyServer, tickets: list[Ticket]) -> None:
    """After the expiry. Slots that are renewed do not."""
    dead = RedisSemaphores(valkey_server.url, expiry_seconds=0.3)
    alive = RedisSemaphores(valkey_server.url, expiry_seconds=0.3)
    assert await dead.acquire(tickets[0], 2, 2)
    assert await alive.acquire(tickets[1], 2, 2)
    await dead.close()
    async with asyncio.timeout(5):
        while not await alive.acquire(tickets[2], 2, 2):
            await alive.renew([tickets[1]])
            await asyncio.sleep(0.02)
    assert not await alive.acquire(tickets[3], 2, 2)
    await alive.close()


async def test_a_slot_that_redis_lost_is_held_again(valkey_server: ValkeyServer, tickets: list[Ticket]) -> None:
    """Redis was emptied, and another ticket got a slot before this one was renewed: both count."""
    one, another = RedisSemaphores(valkey_server.url), RedisSemaphores(valkey_server.url)
    assert await another.acquire(tickets[1], 1, 1)
    await one.renew([tickets[0]])
    await another.release(tickets[1])
    assert not await another.acquire(tickets[2], 1, 1)
    await one.release(tickets[0])
    assert await another.acquire(tickets[2], 1, 1)
    await one.close()
    await another.close()


async def test_a_process_that_counts_alone_knows_what_runs_there(run_dir: Path, tickets: list[Ticket]) -> None:
    """When Redis goes away, the slots that this process got from it are not given again."""
    with ValkeyServer(run_dir / "valkey-that-goes") as valkey:
        semaphores = RedisSemaphores(valkey.url)
        assert await semaphores.acquire(tickets[0], 1, 1)
        assert not await semaphores.acquire(tickets[2], 1, 1)
    assert not await semaphores.acquire(tickets[2], 1, 1)
    await semaphores.release(tickets[0])
    assert await semaphores.acquire(tickets[2], 1, 1)
    await semaphores.close()


async def test_without_redis_a_process_counts_alone(tickets: list[Ticket], caplog: pytest.LogCaptureFixture) -> None:
    """The limits hold within the process, and Redis is left alone for a while."""
    semaphores = RedisSemaphores("redis://127.0.0.1:1/0")
    assert await semaphores.acquire(tickets[0], 1, 1)
    assert not await semaphores.acquire(tickets[1], 1, 1)
    await semaphores.renew([tickets[0]])
    await semaphores.release(tickets[0])
    assert await semaphores.acquire(tickets[1], 1, 1)
    assert len(caplog.records) == 1
    await semaphores.close()


# Fairness

LIMIT, LIMIT_OF_GROUP = 3, 2
GROUPS = ("a", "b", "c", "d")

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.sampled_from(GROUPS)),
        st.tuples(st.just("acquire"), st.integers(0, 30)),
        st.tuples(st.just("release"), st.integers(0, 30)),
        st.tuples(st.just("renew"), st.integers(0, 30)),
    ),
    max_size=60,
)
"""What happens to a semaphore. Numbers choose among the tickets that are there."""


class Observer:
    """One semaphore seen from outside. After each step it checks what the contract promises."""

    def __init__(self, semaphores: Semaphores) -> None:
        self.semaphores = semaphores
        self.semaphore = uuid.uuid4().hex
        self.tickets: list[Ticket] = []
        self.with_slot: set[Ticket] = set()
        self.passed: dict[Ticket, Counter[str]] = {}
        """How often each other group got a slot while a ticket waited whose group had none."""
        self.answers: list[list[bool]] = []

    async def take(self, step: tuple[str, Any]) -> None:
        what, which = step
        if what == "arrive":
            self.tickets.append(Ticket(self.semaphore, f"ticket {uuid.uuid4().hex}", which))
        elif self.tickets:
            ticket = self.tickets[which % len(self.tickets)]
            if what == "release":
                self.tickets.remove(ticket)
                self.with_slot.discard(ticket)
                self.passed.pop(ticket, None)
                await self.semaphores.release(ticket)
            elif what == "renew" and ticket in self.with_slot:
                await self.semaphores.renew([ticket])
            elif what == "acquire":
                await self.semaphores.acquire(ticket, LIMIT, LIMIT_OF_GROUP)
        await self._look()

    async def _look(self) -> None:
        given = {ticket: await self.semaphores.acquire(ticket, LIMIT, LIMIT_OF_GROUP) for ticket in self.tickets}
        given = {ticket: await self.semaphores.acquire(ticket, LIMIT, LIMIT_OF_GROUP) for ticket in given}
        new = [ticket for ticket, has_slot in given.items() if has_slot and ticket not in self.with_slot]
        self.answers.append(list(given.values()))
        assert all(given[ticket] for ticket in self.with_slot), "a slot was taken away"
        before = Counter(ticket.group for ticket in self.with_slot)
        self.with_slot |= set(new)
        slots = Counter(ticket.group for ticket in self.with_slot)
        assert slots.total() <= LIMIT
        assert all(count <= LIMIT_OF_GROUP for count in slots.values())
        waiting = [ticket for ticket in self.tickets if ticket not in self.with_slot]
        if slots.total() < LIMIT:
            assert all(slots[ticket.group] == LIMIT_OF_GROUP for ticket in waiting), "a slot is free for nothing"
        for ticket in waiting:
            if slots[ticket.group]:
                self.passed.pop(ticket, None)  # its group is being served
                continue
            passed = self.passed.setdefault(ticket, Counter())
            if not before[ticket.group]:
                passed.update(other.group for other in new)
            assert all(count <= 1 for count in passed.values()), f"{ticket.group} was passed twice: {passed}"
        assert [ticket for ticket in waiting if ticket in given] == waiting
        for group in GROUPS:
            of_group = [ticket for ticket in self.tickets if ticket.group == group]
            assert [ticket in self.with_slot for ticket in of_group] == sorted(
                (ticket in self.with_slot for ticket in of_group), reverse=True
            ), "a ticket was passed by one of its own group"


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_no_group_waits_for_all_tickets_of_another(kind: str, request: pytest.FixtureRequest) -> None:
    """Whatever happens: the limits hold, no slot stays free that a ticket may have, a slot stays with its ticket, a group is
    served in order, and each other group is served at most once before a group without a slot. Redis agrees with memory."""
    url = request.getfixturevalue("valkey_server").url if kind == "redis" else ""

    @settings(max_examples=60 if url else examples(300), deadline=None)
    @given(STEPS)
    def holds(steps: list[tuple[str, Any]]) -> None:
        asyncio.run(check(steps))

    async def check(steps: list[tuple[str, Any]]) -> None:
        memory = Observer(MemorySemaphores())
        shared = Observer(RedisSemaphores(url)) if url else None
        for step in steps:
            await memory.take(step)
            if shared is not None:
                await shared.take(step)
        if shared is not None:
            await shared.semaphores.close()
            assert shared.answers == memory.answers

    holds()
