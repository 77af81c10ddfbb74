"""assembler.py: batches of events become transactions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from changesource.mongo.assembler import Part, TransactionAssembler
from changesource.mongo.events import ChangeEvent
from tests.mongo.builders import BEGIN, event, transaction

MAX_HELD = 5


def test_a_batch_of_lone_events_is_one_transaction() -> None:
    """It is returned at once, with the last event's cluster time."""
    batch = [event(1), event(2), event(3)]
    assembler = TransactionAssembler()
    assert assembler.add(batch) == [Part(batch, BEGIN + 3)]
    assert not assembler.is_holding


def test_a_batch_without_events_ends_nothing() -> None:
    """All of its events may have been of no interest."""
    assembler = TransactionAssembler()
    assembler.add(transaction(1, 2))
    assert assembler.add([]) == []
    assert assembler.is_holding


def test_a_transaction_is_held_until_the_stream_was_read_to_its_end() -> None:
    events = transaction(1, 3)
    assembler = TransactionAssembler()
    assert assembler.add(events) == []
    assert assembler.is_holding
    assert assembler.finish() == [Part(events, BEGIN + 1)]
    assert not assembler.is_holding


def test_a_transaction_over_several_batches_stays_one() -> None:
    events = transaction(1, 4)
    assembler = TransactionAssembler()
    assert assembler.add(events[:1]) == assembler.add(events[1:3]) == assembler.add(events[3:]) == []
    assert assembler.finish() == [Part(events, BEGIN + 1)]


def test_an_event_of_a_later_cluster_time_ends_a_transaction() -> None:
    """Both go out together."""
    events = transaction(1, 2)
    assembler = TransactionAssembler()
    assembler.add(events)
    later = event(2)
    assert assembler.add([later]) == [Part([*events, later], BEGIN + 2)]


def test_only_the_transaction_at_the_end_of_a_batch_is_held() -> None:
    """The events before it go out."""
    before, events = event(1), transaction(2, 2)
    assembler = TransactionAssembler()
    assert assembler.add([before, *events]) == [Part([before], BEGIN + 1)]
    assert assembler.finish() == [Part(events, BEGIN + 2)]


def test_a_held_transaction_with_many_bytes_goes_out_in_parts() -> None:
    """However few events it has. A small one stays whole."""
    events = transaction(1, 6)
    assembler = TransactionAssembler(max_held_bytes=1_000)
    assert assembler.add(events[:2], 600) == []
    assert assembler.add(events[2:4], 600) == [Part(events[:4], BEGIN + 1, 0, is_final=False)]
    assert assembler.add(events[4:], 600) == []
    assert assembler.finish() == [Part(events[4:], BEGIN + 1, 1)]
    assert assembler.add(transaction(2, 2), 600) == []


def test_only_the_bytes_of_held_events_count() -> None:
    assembler = TransactionAssembler(max_held_bytes=1_000)
    before, held = [event(1, number) for number in range(8)], transaction(2, 2)
    assert assembler.add([*before, *held], 4_000) == [Part(before, BEGIN + 1)]
    assert assembler.finish() == [Part(held, BEGIN + 2)]


def test_everything_with_the_cluster_time_of_a_transaction_stays_together() -> None:
    """In a sharded cluster, transactions and lone events of one cluster time may be mixed."""
    mixed = [event(1, 1, in_transaction=True), event(1, 2), event(1, 3, in_transaction=True), event(1, 4)]
    assembler = TransactionAssembler()
    assert assembler.add(mixed[:2]) == assembler.add(mixed[2:]) == []
    assert assembler.finish() == [Part(mixed, BEGIN + 1)]


def test_lone_events_that_share_a_cluster_time_are_not_held() -> None:
    """The documents of one insertMany may share one without being a transaction."""
    assembler = TransactionAssembler()
    assert assembler.add([event(1, 1), event(1, 2)]) == [Part([event(1, 1), event(1, 2)], BEGIN + 1)]
    assert assembler.add([event(1, 3)]) == [Part([event(1, 3)], BEGIN + 1)]


def test_a_large_transaction_goes_out_in_numbered_parts() -> None:
    """The last part is final."""
    events = transaction(1, 12)
    assembler = TransactionAssembler(MAX_HELD)
    parts = [*assembler.add(events[:5]), *assembler.add(events[5:11]), *assembler.add(events[11:]), *assembler.finish()]
    assert parts == [
        Part(events[:5], BEGIN + 1, 0, is_final=False),
        Part(events[5:11], BEGIN + 1, 1, is_final=False),
        Part(events[11:], BEGIN + 1, 2),
    ]


def test_the_final_part_is_empty_if_nothing_is_left() -> None:
    events = transaction(1, 5)
    assembler = TransactionAssembler(MAX_HELD)
    assert assembler.add(events) == [Part(events, BEGIN + 1, 0, is_final=False)]
    assert assembler.is_holding
    assert assembler.finish() == [Part([], BEGIN + 1, 1)]
    assert not assembler.is_holding


def test_a_later_event_ends_a_transaction_of_several_parts() -> None:
    """It belongs to the next transaction."""
    events = transaction(1, 7)
    assembler = TransactionAssembler(MAX_HELD)
    assembler.add(events[:5])
    later = event(2)
    assert assembler.add([*events[5:], later]) == [Part(events[5:], BEGIN + 1, 1), Part([later], BEGIN + 2)]


def test_the_parts_of_each_transaction_are_numbered_from_0() -> None:
    one, other = transaction(1, 5), transaction(2, 5)
    assembler = TransactionAssembler(MAX_HELD)
    assert assembler.add(one) == [Part(one, BEGIN + 1, 0, is_final=False)]
    assert assembler.add(other) == [Part([], BEGIN + 1, 1), Part(other, BEGIN + 2, 0, is_final=False)]
    assert assembler.finish() == [Part([], BEGIN + 2, 1)]


def test_the_end_of_the_stream_gives_nothing_if_nothing_is_held() -> None:
    assembler = TransactionAssembler()
    assembler.add([event(1)])
    assert assembler.finish() == []


@dataclass(frozen=True)
class Reply:
    """A batch, and whether the stream had been read to its end after it."""

    events: Sequence[ChangeEvent]
    is_end: bool


@st.composite
def streams(draw: st.DrawFn) -> list[Reply]:
    """Draws transactions, lone events and mixtures of both, cut into batches. The stream never ends
    within a transaction, because MongoDB shows all of its events at once."""
    kinds = draw(st.lists(st.sampled_from(["lone", "tied", "transaction", "mixed"]), max_size=12))
    groups: list[list[ChangeEvent]] = []
    number = 0
    for step, kind in enumerate(kinds):
        count = 1 if kind == "lone" else draw(st.integers(1, 12))
        in_transaction = {"lone": [False], "tied": [False], "transaction": [True], "mixed": [True, False]}[kind]
        flags = draw(st.lists(st.sampled_from(in_transaction), min_size=count, max_size=count))
        groups.append([event(step, number + place, in_transaction=flag) for place, flag in enumerate(flags)])
        number += count
    replies: list[Reply] = []
    batch: list[ChangeEvent] = []
    for group in groups:
        for place, found in enumerate(group, start=1):
            batch.append(found)
            if draw(st.booleans()):
                may_end = place == len(group) or not any(each.in_transaction for each in group)
                replies.append(Reply(batch, is_end=may_end and draw(st.booleans())))
                batch = []
    return [*replies, Reply(batch, is_end=True)]


def assemble(replies: Sequence[Reply]) -> list[Part]:
    assembler = TransactionAssembler(MAX_HELD)
    parts: list[Part] = []
    for reply in replies:
        parts += assembler.add(reply.events)
        if reply.is_end:
            parts += assembler.finish()
    return parts


def zero_transactions(parts: Sequence[Part]) -> list[list[Part]]:
    """Returns the parts of each transaction. The last one may be open."""
    transactions: list[list[Part]] = [[]]
    for part in parts:
        transactions[-1].append(part)
        if part.is_final:
            transactions.append([])
    return [found for found in transactions if found]


@given(streams())
def test_parts_have_every_event_once_and_in_order(replies: list[Reply]) -> None:
    given_out = [found for part in assemble(replies) for found in part.events]
    assert given_out == [found for reply in replies for found in reply.events]


@given(streams())
def test_no_transaction_is_split(replies: list[Reply]) -> None:
    """All events of MongoDB transactions that share a cluster time are in one Zero transaction."""
    events = [found for reply in replies for found in reply.events]
    of_transactions = [found for found in events if found.in_transaction]
    whole = [
        {found.document_id for found in group}
        for _, group in groupby(of_transactions, key=lambda found: found.cluster_time)
    ]
    committed = [
        {found.document_id for part in parts for found in part.events} for parts in zero_transactions(assemble(replies))
    ]
    assert all(any(group <= found for found in committed) for group in whole)


@given(streams())
def test_parts_are_numbered(replies: list[Reply]) -> None:
    """The parts of each transaction count from 0, share a cluster time, and only the last one is
    final."""
    for parts in zero_transactions(assemble(replies)):
        assert [part.index for part in parts] == list(range(len(parts)))
        assert [part.is_final for part in parts] == [False] * (len(parts) - 1) + [True]
        assert len({part.cluster_time for part in parts}) == 1


@given(streams())
def test_a_transaction_has_the_cluster_time_of_its_last_event(replies: list[Reply]) -> None:
    """Cluster times never go back."""
    transactions = zero_transactions(assemble(replies))
    times = [parts[0].cluster_time for parts in transactions]
    assert times == [[found for part in parts for found in part.events][-1].cluster_time for parts in transactions]
    assert times == sorted(times)


@given(streams())
def test_only_a_few_events_of_the_last_cluster_time_are_held(replies: list[Reply]) -> None:
    """And only if a transaction is among them."""
    assembler = TransactionAssembler(MAX_HELD)
    held: list[ChangeEvent] = []
    for reply in replies:
        held += reply.events
        for part in assembler.add(reply.events):
            del held[: len(part.events)]
        assert len(held) < MAX_HELD
        assert len({found.cluster_time for found in held}) <= 1
        if held:
            assert assembler.is_holding
        if reply.is_end:
            for part in assembler.finish():
                del held[: len(part.events)]
            assert held == []
            assert not assembler.is_holding


@given(st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=6))
def test_lone_events_are_never_held(batches: list[list[int]]) -> None:
    """Events outside of transactions go out with their batch, even if many share a cluster time."""
    assembler = TransactionAssembler(MAX_HELD)
    step = 0
    for increments in batches:
        batch = []
        for increment in increments:
            step += increment
            batch.append(event(step))
        assert [found for part in assembler.add(batch) for found in part.events] == batch
        assert not assembler.is_holding
