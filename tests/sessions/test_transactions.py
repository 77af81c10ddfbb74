"""changesource/sessions/transactions.py, acknowledgements.py, outlet.py, and the numbering of entry_reader.py"""

import asyncio
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.log.entries import Entry, EntryId
from changesource.protocol.watermarks import Position
from changesource.replication.entry_reader import Numbering
from changesource.sessions.acknowledgements import Confirmed, InFlight
from changesource.sessions.outlet import SEND_BYTES, ClientStalled, PacedOutlet
from changesource.sessions.transactions import TransactionSender
from tests.simulation.builders import table, version, whole_view

STALL_SECONDS = 0.05


class Collected:
    """An outlet that keeps what it is given; `is_stuck` makes it wait for ever."""

    def __init__(self) -> None:
        self.frames: list[str] = []
        self.portions: list[int] = []
        self.is_stuck = False

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        if self.is_stuck:
            await asyncio.Event().wait()
        self.frames += [frame.decode() for frame in frames]
        self.portions.append(sum(map(len, frames)))

    def summary(self) -> list[str]:
        """`begin W`, the frames of rows as they are, `commit W`, `rollback`."""
        lines = []
        for frame in self.frames:
            message = json.loads(frame) if frame.startswith("[") else [frame]
            match message[0]:
                case "begin":
                    lines.append(f"begin {Position.from_watermark(message[2]['commitWatermark']).number}")
                case "commit":
                    lines.append(f"commit {Position.from_watermark(message[2]['watermark']).number}")
                case other:
                    lines.append(other)
        return lines


AB = whole_view(version(table("a"), table("b")))


class Sending:
    """A sender of the tables a and b, whose replica is at the position `last`."""

    def __init__(self, last: int = 100, max_in_flight: int = 10**9) -> None:
        self.outlet = Collected()
        self.in_flight = InFlight(STALL_SECONDS, max_in_flight)
        paced = PacedOutlet(self.outlet, STALL_SECONDS)
        self.sender = TransactionSender(paced, self.in_flight, AB, Position.from_number(last))

    async def send(self, *entries: Entry) -> list[str]:
        for entry in entries:
            await self.sender.send(entry)
        return self.outlet.summary()


def entry(number: int, part: int = 0, *, is_final: bool = True, **tables: str) -> Entry:
    return Entry(
        EntryId(Position.from_number(number), part),
        commit_time_ms=0,
        tables={name: frames.encode() for name, frames in tables.items()},
        is_final=is_final,
    )


async def test_an_entry_becomes_a_transaction() -> None:
    """Its rows between one begin and one commit, at its position."""
    assert await Sending().send(entry(200, a="r1\nr2", b="r3")) == ["begin 200", "r1", "r2", "r3", "commit 200"]


async def test_watermarks_grow_whatever_the_log_says() -> None:
    """What the replica has, or had sent, is passed by one."""
    found = await Sending(last=300).send(entry(200, a="r1"), entry(250, a="r2"), entry(900, a="r3"))
    assert [line for line in found if line.startswith("commit")] == ["commit 301", "commit 302", "commit 900"]


async def test_tables_that_are_not_asked_for_are_left_out() -> None:
    """And a transaction with nothing else is not sent."""
    assert await Sending().send(entry(200, a="r1", other="x"), entry(300, other="x"), entry(400)) == [
        "begin 200",
        "r1",
        "commit 200",
    ]


async def test_parts_are_one_transaction() -> None:
    """It begins with the first part that has rows and ends with the last, which may have none."""
    found = await Sending().send(
        entry(200, 0, is_final=False, other="x"),
        entry(200, 1, is_final=False, a="r1"),
        entry(200, 2, is_final=False, b="r2"),
        entry(200, 3),
    )
    assert found == ["begin 200", "r1", "r2", "commit 200"]


async def test_a_transaction_that_begins_again_is_rolled_back_first() -> None:
    """A part 0 after other parts: the writer was interrupted."""
    found = await Sending().send(
        entry(200, 0, is_final=False, a="r1"), entry(201, 0, is_final=False, a="r1"), entry(201, 1)
    )
    assert found == ["begin 200", "r1", "rollback", "begin 201", "r1", "commit 201"]


async def test_an_interrupted_transaction_may_come_back_as_one_entry() -> None:
    """And one whose rows are of no interest only ends what was open."""
    found = await Sending().send(entry(200, 0, is_final=False, a="r1"), entry(201, a="r2"))
    assert found == ["begin 200", "r1", "rollback", "begin 201", "r2", "commit 201"]
    found = await Sending().send(entry(200, 0, is_final=False, a="r1"), entry(201, other="x"))
    assert found == ["begin 200", "r1", "rollback"]


async def test_an_empty_transaction_moves_the_watermark() -> None:
    """Nothing else does, in zero-cache."""
    sending = Sending()
    await sending.sender.send_empty(Position.from_number(500), 0)
    assert sending.outlet.summary() == ["begin 500", "commit 500"]
    assert sending.sender.last == Position.from_number(500)


async def test_too_much_in_flight_waits_for_an_acknowledgement() -> None:
    """The next transaction begins only when there is room."""
    sending = Sending(max_in_flight=10)
    await sending.send(entry(200, a="x" * 11))
    waiting = asyncio.create_task(sending.send(entry(300, a="r1")))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert sending.in_flight.acknowledge(Position.from_number(200)) == Confirmed(1, 1)
    assert (await waiting)[-1] == "commit 300"


async def test_no_acknowledgement_in_time_is_a_stall() -> None:
    """`ClientStalled`, so that the connection is dropped and resumes."""
    sending = Sending(max_in_flight=10)
    await sending.send(entry(200, a="x" * 11))
    with pytest.raises(ClientStalled):
        await sending.send(entry(300, a="r1"))


async def test_a_socket_that_takes_nothing_is_a_stall() -> None:
    """`ClientStalled` after the time that one portion may take."""
    sending = Sending()
    sending.outlet.is_stuck = True
    with pytest.raises(ClientStalled):
        await sending.send(entry(200, a="r1"))


async def test_much_is_sent_in_portions() -> None:
    """So that a slow client gets its time for each; none is much larger than the limit."""
    outlet = Collected()
    await PacedOutlet(outlet, STALL_SECONDS).send(b"x" * 1_000 for _ in range(1_000))
    assert len(outlet.portions) > 1
    assert max(outlet.portions) <= SEND_BYTES + 1_000
    assert sum(outlet.portions) == 1_000_000


def test_an_acknowledgement_is_of_everything_up_to_it() -> None:
    """zero-cache acknowledges the newest only when it is busy; old news and unknown positions confirm nothing."""
    in_flight = InFlight(STALL_SECONDS)
    for number in (10, 20, 30):
        in_flight.sent(Position.from_number(number), rows=2, size=100)
    assert in_flight.acknowledge(Position.from_number(5)) == Confirmed(0, 0)
    assert in_flight.acknowledge(Position.from_number(25)) == Confirmed(2, 4)
    assert in_flight.acknowledge(Position.from_number(20)) == Confirmed(0, 0)
    assert in_flight.newest == Position.from_number(20)
    assert in_flight.acknowledge(Position.from_number(10**6)) == Confirmed(1, 2)


steps = st.lists(st.tuples(st.integers(min_value=1, max_value=50), st.integers(min_value=1, max_value=4)), max_size=30)


@given(steps)
def test_numbering_only_grows(transactions: list[tuple[int, int]]) -> None:
    """Whatever cluster times come: places strictly grow, and parts of one transaction share a position from 0 on."""
    numbering = Numbering(Position(10, 5))
    ids: list[EntryId] = []
    for cluster_time, parts in transactions:
        group = [numbering.next(cluster_time, is_final=part == parts - 1) for part in range(parts)]
        assert {each.position for each in group} == {group[0].position}
        assert [each.part for each in group] == list(range(parts))
        ids += group
    assert ids == sorted(set(ids))
    assert all(each.position > Position(10, 5) for each in ids)
