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


def test_lone_events() -> None:
    """A batch of lone events is one transaction, given at once, at the last event's cluster time."""
    batch = [event(1), event(2), event(3)]
    assembler = TransactionAssembler()
    assert assembler.add(batch) == [Part(batch, BEGIN + 3)]
    assert not assembler.is_holding


def test_empty_batch() -> None:
    """A batch in which every event was of no interest gives nothing and ends nothing."""
    assembler = TransactionAssembler()
    assembler.add(transaction(1, 2))
    assert assembler.add([]) == []
    assert assembler.is_holding


def test_transaction_until_the_end_of_the_stream() -> None:
    """A MongoDB transaction is held until the stream was read to its end."""
    events = transaction(1, 3)
    assembler = TransactionAssembler()
    assert assembler.add(events) == []
    assert assembler.is_holding
    assert assembler.finish() == [Part(events, BEGIN + 1)]
    assert not assembler.is_holding


def test_transaction_over_batches() -> None:
    """A MongoDB transaction that comes in several batches stays one transaction."""
    events = transaction(1, 4)
    assembler = TransactionAssembler()
    assert assembler.add(events[:1]) == assembler.add(events[1:3]) == assembler.add(events[3:]) == []
    assert assembler.finish() == [Part(events, BEGIN + 1)]


def test_transaction_until_a_later_event() -> None:
    """An event of a later cluster time shows that a transaction was complete; both go out together."""
    events = transaction(1, 2)
    assembler = TransactionAssembler()
    assembler.add(events)
    later = event(2)
    assert assembler.add([later]) == [Part([*events, later], BEGIN + 2)]


def test_transaction_at_the_end_of_a_batch() -> None:
    """What came before a transaction at the end of a batch goes out, the transaction is held."""
    before, events = event(1), transaction(2, 2)
    assembler = TransactionAssembler()
    assert assembler.add([before, *events]) == [Part([before], BEGIN + 1)]
    assert assembler.finish() == [Part(events, BEGIN + 2)]


def test_transaction_of_large_documents() -> None:
    """However few its events are, a transaction that is held goes out in parts of so many bytes; a small one stays whole."""
    events = transaction(1, 6)
    assembler = TransactionAssembler(max_held_bytes=1_000)
    assert assembler.add(events[:2], 600) == []
    assert assembler.add(events[2:4], 600) == [Part(events[:4], BEGIN + 1, 0, is_final=False)]
    assert assembler.add(events[4:], 600) == []
    assert assembler.finish() == [Part(events[4:], BEGIN + 1, 1)]
    assert assembler.add(transaction(2, 2), 600) == []


def test_bytes_of_events_that_are_not_held() -> None:
    """Only those of the transaction at the end of the batch count."""
    assembler = TransactionAssembler(max_held_bytes=1_000)
    before, held = [event(1, number) for number in range(8)], transaction(2, 2)
    assert assembler.add([*before, *held], 4_000) == [Part(before, BEGIN + 1)]
    assert assembler.finish() == [Part(held, BEGIN + 2)]


def test_transactions_of_one_cluster_time() -> None:
    """Transactions and lone events of one cluster time, mixed by a sharded cluster, stay together."""
    mixed = [event(1, 1, in_transaction=True), event(1, 2), event(1, 3, in_transaction=True), event(1, 4)]
    assembler = TransactionAssembler()
    assert assembler.add(mixed[:2]) == assembler.add(mixed[2:]) == []
    assert assembler.finish() == [Part(mixed, BEGIN + 1)]


def test_lone_events_of_one_cluster_time() -> None:
    """The documents of one insertMany may share a cluster time without being a transaction: they are not held."""
    assembler = TransactionAssembler()
    assert assembler.add([event(1, 1), event(1, 2)]) == [Part([event(1, 1), event(1, 2)], BEGIN + 1)]
    assert assembler.add([event(1, 3)]) == [Part([event(1, 3)], BEGIN + 1)]


def test_large_transaction() -> None:
    """A transaction larger than what may be held goes out in numbered parts, the last of which is final."""
    events = transaction(1, 12)
    assembler = TransactionAssembler(MAX_HELD)
    parts = [*assembler.add(events[:5]), *assembler.add(events[5:11]), *assembler.add(events[11:]), *assembler.finish()]
    assert parts == [
        Part(events[:5], BEGIN + 1, 0, is_final=False),
        Part(events[5:11], BEGIN + 1, 1, is_final=False),
        Part(events[11:], BEGIN + 1, 2),
    ]


def test_large_transaction_that_ends_with_a_part() -> None:
    """Where nothing is left for the final part it is empty."""
    events = transaction(1, 5)
    assembler = TransactionAssembler(MAX_HELD)
    assert assembler.add(events) == [Part(events, BEGIN + 1, 0, is_final=False)]
    assert assembler.is_holding
    assert assembler.finish() == [Part([], BEGIN + 1, 1)]
    assert not assembler.is_holding


def test_large_transaction_ended_by_a_later_event() -> None:
    """A later event ends a transaction of several parts, and belongs to the next one."""
    events = transaction(1, 7)
    assembler = TransactionAssembler(MAX_HELD)
    assembler.add(events[:5])
    later = event(2)
    assert assembler.add([*events[5:], later]) == [Part(events[5:], BEGIN + 1, 1), Part([later], BEGIN + 2)]


def test_two_large_transactions() -> None:
    """Parts are numbered from 0 for each transaction."""
    one, other = transaction(1, 5), transaction(2, 5)
    assembler = TransactionAssembler(MAX_HELD)
    assert assembler.add(one) == [Part(one, BEGIN + 1, 0, is_final=False)]
    assert assembler.add(other) == [Part([], BEGIN + 1, 1), Part(other, BEGIN + 2, 0, is_final=False)]
    assert assembler.finish() == [Part([], BEGIN + 2, 1)]


def test_end_without_anything() -> None:
    """The end of a stream from which nothing is held gives nothing."""
    assembler = TransactionAssembler()
    assembler.add([event(1)])
    assert assembler.finish() == []


@dataclass(frozen=True)
class Reply:
    """A batch, and whether the stream was read to its end after it."""

    events: Sequence[ChangeEvent]
    is_end: bool


@st.composite
def streams(draw: st.DrawFn) -> list[Reply]:
    """Transactions, lone events and mixtures of both, cut into batches. The stream never ends inside a transaction:
    MongoDB shows all of its events at once."""
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
    """The parts of each transaction; the last is closed or not."""
    transactions: list[list[Part]] = [[]]
    for part in parts:
        transactions[-1].append(part)
        if part.is_final:
            transactions.append([])
    return [found for found in transactions if found]


@given(streams())
def test_nothing_lost_or_moved(replies: list[Reply]) -> None:
    """The parts hold the events, each once, in order."""
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
    """Each transaction's parts count from 0, share a cluster time, and only the last is final."""
    for parts in zero_transactions(assemble(replies)):
        assert [part.index for part in parts] == list(range(len(parts)))
        assert [part.is_final for part in parts] == [False] * (len(parts) - 1) + [True]
        assert len({part.cluster_time for part in parts}) == 1


@given(streams())
def test_cluster_time_of_parts(replies: list[Reply]) -> None:
    """A transaction's cluster time is that of its last event; it never goes back."""
    transactions = zero_transactions(assemble(replies))
    times = [parts[0].cluster_time for parts in transactions]
    assert times == [[found for part in parts for found in part.events][-1].cluster_time for parts in transactions]
    assert times == sorted(times)


@given(streams())
def test_what_is_held(replies: list[Reply]) -> None:
    """Only events of the last cluster time are held, only if a transaction is among them, and never many."""
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
    """Events outside transactions go out with their batch, also where many share a cluster time."""
    assembler = TransactionAssembler(MAX_HELD)
    step = 0
    for increments in batches:
        batch = []
        for increment in increments:
            step += increment
            batch.append(event(step))
        assert [found for part in assembler.add(batch) for found in part.events] == batch
        assert not assembler.is_holding
