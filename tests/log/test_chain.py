"""The rule by which a follower notices a hole in the log, with writers that race and a Redis that
forgets. The source is a list of events, and the log's entries carry their numbers. Writers and
follower do what the watcher and the feed do (changesource/replication), on a real log."""

from typing import Any

from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from changesource.errors import LogMismatch
from changesource.log.entries import ChangeLog, Entry, EntryId, Extent
from changesource.protocol.watermarks import Position
from changesource.replication.entry_reader import Numbering
from tests.log.builders import cluster_time
from tests.log.opening import RedisLogs


class Source:
    """MongoDB: the cluster time of each event, in order."""

    def __init__(self) -> None:
        self.times = [cluster_time(1)]

    def write(self, count: int, *, at_once: bool) -> None:
        """Writes events at cluster times of their own, or all at one, which writers may cut
        anywhere."""
        first = self.now + 1
        self.times += [first] * count if at_once else range(first, first + count)

    @property
    def now(self) -> int:
        return self.times[-1]

    def first_at(self, time: int) -> int:
        """Returns the number of the first event at or after `time`."""
        return next((number for number, found in enumerate(self.times) if found >= time), len(self.times))


class Writer:
    """A watcher. It may be paused for long between its steps."""

    def __init__(self, log: ChangeLog, source: Source) -> None:
        self._log = log
        self._source = source
        self._tail: EntryId | None = None
        self._found: tuple[Extent, int] | None = None

    async def look(self) -> None:
        self._found = await self._log.extent(), self._source.now

    async def lead(self) -> None:
        if self._found is None:
            await self.look()
        assert self._found is not None
        (extent, now), self._found = self._found, None
        tail, whole = extent.tail, extent.whole
        if tail is None or whole is None:
            tail = whole = EntryId(Position(now))
            if not await self._append(Entry(tail, 0, is_start=True), None):
                return
        self._tail = tail
        self._numbering = Numbering(tail.position)
        self._left = range(0)
        self._next = self._source.first_at(whole.position.cluster_time)

    async def copy(self, count: int, *, in_parts: bool) -> None:
        """Appends the next `count` events as a transaction, or only the first half of them, or the
        half that was left. Events from before the log's tail, which a writer meets that begins an
        unfinished transaction again, become parts of one transaction."""
        if self._tail is None:
            return
        if not self._left:
            self._left = range(self._next, min(self._next + count, len(self._source.times)))
        if not self._left:
            return
        is_cut = in_parts and self._left.stop - self._left.start > 1 and self._left.start == self._next
        here = self._left[: len(self._left) // 2] if is_cut else self._left
        time = self._source.times[self._left[-1]]
        is_final = not is_cut and not self._numbering.is_behind(time)
        entry_id = self._numbering.next(time, is_final=is_final)
        frames = b"\n".join(str(number).encode() for number in here)
        if not await self._append(Entry(entry_id, 0, {"events": frames}, is_final=is_final), self._tail):
            self._tail = None
            return
        self._tail = entry_id
        self._left = self._left[len(here) :]
        if not is_cut:
            self._next = here.stop

    async def start_over(self) -> None:
        """Does what a watcher does whose history was lost."""
        if self._tail is None:
            return
        start = Entry(EntryId(self._tail.position.next_for(self._source.now)), 0, is_start=True)
        if await self._append(start, self._tail):
            await self.look()
            await self.lead()

    async def _append(self, entry: Entry, after: EntryId | None) -> bool:
        try:
            await self._log.append(entry, after)
        except LogMismatch:
            return False
        return True


class Follower:
    """A session's feed. It reads the log while each entry follows what it has, and the source
    otherwise."""

    def __init__(self, log: ChangeLog, source: Source) -> None:
        self._log = log
        self._source = source
        self._position = Position(source.now)
        self._after: EntryId | None = None
        self._log_id = ""
        self._pending: list[int] = []
        self.applied: set[int] = set()

    async def follow(self, limit: int) -> None:
        if self._after is None:
            if not (await self._log.extent()).covers(self._position):
                self._read_source()
                return
            self._after = EntryId.before(self._position.cluster_time)
            self._log_id = (await self._log.extent()).log_id
        found = await self._log.read(self._after, limit)
        if not found and (await self._log.extent()).log_id != self._log_id:
            self._after = None
        for entry in found:
            if not self._follows(entry, self._after):
                self._after = None
                return
            self._after = entry.id
            if not entry.is_start:
                self._apply(entry)

    def _follows(self, entry: Entry, after: EntryId) -> bool:
        if entry.log_id != self._log_id:
            return False
        if entry.is_start:
            return entry.position.cluster_time <= self._position.cluster_time
        return entry.previous is not None and entry.previous <= after

    def _apply(self, entry: Entry) -> None:
        if entry.id.part == 0:
            self._pending = []
        self._pending += map(int, entry.tables["events"].split())
        if entry.is_final:
            self.applied.update(self._pending)
            self._position = max(self._position, entry.position)

    def _read_source(self) -> None:
        self._pending = []
        self.applied.update(range(self._source.first_at(self._position.cluster_time), len(self._source.times)))
        self._position = self._position.next_for(self._source.now)


writers = st.integers(0, 1)
counts = st.integers(1, 4)
steps = st.one_of(
    st.tuples(st.just("write"), counts, st.booleans()),
    st.tuples(st.just("look"), writers),
    st.tuples(st.just("lead"), writers),
    st.tuples(st.just("copy"), writers, counts, st.booleans()),
    st.tuples(st.just("start over"), writers),
    st.tuples(st.just("trim"), st.integers(1, 5)),
    st.tuples(st.just("lose"), st.sampled_from([("log",), ("tail",), ("log", "tail")])),
    st.tuples(st.just("follow"), st.integers(1, 6)),
)


UNFINISHED = [
    ("lead", 0),
    ("write", 1, False),
    ("follow", 1),
    ("copy", 0, 2, True),
    ("lose", ("tail",)),
    ("follow", 1),
]
"""The log starts over at the place of an unfinished transaction that the follower has read."""

CUT_DIFFERENTLY = [
    ("lead", 0),
    ("write", 3, True),
    ("copy", 0, 2, False),
    ("copy", 0, 1, False),
    ("follow", 5),
    ("lose", ("log", "tail")),
    ("lead", 0),
    ("copy", 0, 3, False),
    ("write", 1, False),
    ("copy", 0, 1, False),
    ("follow", 5),
]
"""The log starts over within a cluster time, and has more at the place that the follower has read."""


BEGUN_AGAIN = [("lead", 0), ("write", 2, False), ("copy", 0, 3, True), ("lead", 0), ("copy", 0, 1, False)]
"""A transaction of three events is left unfinished, and the first of them is copied alone when it
begins again."""


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(steps, min_size=5, max_size=40))
@example(UNFINISHED)
@example(CUT_DIFFERENTLY)
@example(BEGUN_AGAIN)
async def test_no_hole_goes_unnoticed(redis_logs: RedisLogs, steps: list[tuple[Any, ...]]) -> None:
    """Whatever writers and Redis do, a follower has everything up to some event, and gets the rest
    in the end."""
    log = redis_logs.open_another()
    source = Source()
    two_writers = [Writer(log, source), Writer(log, source)]
    follower = Follower(log, source)
    for step in [*steps, ("look", 0), ("lead", 0), *[("copy", 0, 50, False)] * 2, *[("follow", 50)] * 3]:
        match step:
            case "write", count, at_once:
                source.write(count, at_once=at_once)
            case "look", number:
                await two_writers[number].look()
            case "lead", number:
                await two_writers[number].lead()
            case "copy", number, count, in_parts:
                await two_writers[number].copy(count, in_parts=in_parts)
            case "start over", number:
                await two_writers[number].start_over()
            case "trim", length:
                await redis_logs.shorten(length)
            case "lose", parts:
                await redis_logs.lose(*parts)
            case "follow", limit:
                await follower.follow(limit)
        assert follower.applied == set(range(len(follower.applied)))
    assert len(follower.applied) == len(source.times)
