"""What the change log holds, and its contract, which `RedisLog` and `MemoryLog` fulfil. One set of
tests runs on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from changesource.protocol.watermarks import Position

MAX_PART = 2**32 - 1
MAX_READ_BYTES = 4 * 2**20
"""About how many bytes are read at once. One entry can hold this much, or some 32 MiB more if it
ends with a huge row."""

NONCE_LENGTH = 32
"""The length of a marker's nonce, in characters, all of which are ASCII."""
ACCESS_BYTES = 73
"""The largest size of an `AccessCutover` as text: a client, a nonce and a cluster time."""

ANOTHER_LOG = "Another writer has started a new log since."


@dataclass(frozen=True, slots=True, order=True)
class EntryId:
    """The place of an entry: a position, and the entry's part number within its transaction."""

    position: Position
    part: int = 0

    @classmethod
    def before(cls, cluster_time: int) -> EntryId:
        """Returns a place before all entries of `cluster_time` and after all earlier entries."""
        return cls(Position.from_number(Position(cluster_time).number - 1), MAX_PART)


@dataclass(frozen=True, slots=True)
class AccessCutover:
    """The place in the stream where a client's access changes.

    `nonce` is that of the stored access version. `cluster_time` is that of the marker's event: the
    entry's position may be later, because a writer that continues after an interruption repeats
    events of earlier cluster times after the tail.
    """

    client_id: int
    nonce: str
    cluster_time: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One rendered Zero transaction, or one part of it.

    The parts of a transaction have the same position and are numbered from 0; only the last has
    `is_final`. A part 0 where another part should follow means that the writer was interrupted and
    the transaction begins again: a reader rolls back the parts before it.

    Attributes:
        tables: server table name → frames, joined by newlines, in the order in which they apply.
        markers: the nonces of the barriers and heartbeats in the transaction, each of
            `NONCE_LENGTH`.
        is_start: the entry is the first of a log: everything from its cluster time on, inclusive,
            follows.
        version: the number of the published version that rendered the entry.
        is_publish: `version` is in force from this position on; the entry has no frames.
        access_cutover: a client's access changes here; the entry has no frames.
        filter_values: for each table with filter columns, an item for each frame
            (`pack_filter_values`).
        previous: the entry before this one, filled in by the log.
        log_id: which log the entry belongs to, filled in by the log: each start entry gives the log
            a new id. Two logs may cut the events of one cluster time differently, so their places
            cannot be compared.
    """

    id: EntryId
    commit_time_ms: int
    tables: Mapping[str, bytes] = field(default_factory=dict)
    markers: Sequence[str] = ()
    is_final: bool = True
    is_start: bool = False
    version: int = 0
    is_publish: bool = False
    previous: EntryId | None = None
    log_id: str = ""
    filter_values: Mapping[str, bytes] = field(default_factory=dict)
    access_cutover: AccessCutover | None = None

    @property
    def position(self) -> Position:
        return self.id.position

    @property
    def size(self) -> int:
        """The bytes of the frames and of what is kept beside them."""
        beside = NONCE_LENGTH * len(self.markers) + (ACCESS_BYTES if self.access_cutover is not None else 0)
        return sum(map(len, self.tables.values())) + sum(map(len, self.filter_values.values())) + beside


def pack_nonces(nonces: Sequence[str]) -> str:
    """Joins the nonces. They all have the same length, so no nonce can pass for two."""
    if not all(len(nonce) == NONCE_LENGTH and nonce.isascii() for nonce in nonces):
        raise ValueError(f"a nonce has {NONCE_LENGTH} characters")
    return "".join(nonces)


def unpack_nonces(packed: str) -> tuple[str, ...]:
    """Splits what `pack_nonces` joined."""
    return tuple(packed[start : start + NONCE_LENGTH] for start in range(0, len(packed), NONCE_LENGTH))


@dataclass(frozen=True, slots=True)
class Extent:
    """The bounds of a log. `first`, `tail` and `whole` are None for an empty log.

    `whole` is the last entry that ended a transaction. A new writer reads the source from there: an
    unfinished transaction at the tail may hold events of earlier cluster times than its position,
    and begins again.
    """

    first: EntryId | None = None
    tail: EntryId | None = None
    begins_with_start: bool = False
    whole: EntryId | None = None
    log_id: str = ""

    def covers(self, position: Position) -> bool:
        """Whether the log holds everything from the cluster time of `position`, inclusive, up to
        its tail.

        The first entry left after trimming may not be the first of its cluster time; a start entry
        always is.
        """
        if self.first is None:
            return False
        first = self.first.position.cluster_time
        return position.cluster_time > first or (self.begins_with_start and position.cluster_time == first)


@dataclass(frozen=True, slots=True)
class Leadership:
    """Who writes a log (None: no watcher), for how long its lease lasts, and how many stand by."""

    leader: str | None
    seconds_left: float
    standbys: int


class ChangeLog(Protocol):
    """The rendered transactions of one app, in order and without holes between the first entry and
    the tail.

    The log is a cache of the oplog: losing it loses nothing. Every method raises `LogUnavailable`
    when the store is away.

    Two watchers can write at once, because a lease can be lost without its owner noticing. So
    `append` compares before it sets, in one step:

    - the log must end with the entry that the writer believes to be the tail;
    - it must be the log that the writer believes to be writing (`log_id`);
    - no other watcher may hold the lease (only where several processes share the log).

    A writer that is refused has changed nothing. It reads the log's extent and begins again from
    there. The lease alone does not suffice, because the writer may be paused between its last look
    at the lease and its append:

        time ──▶
        A    leads, tail is 7 ┄┄ paused ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ append 8 after 7
        B                        leads: append 8, append 9
        log  … 7                                  … 7 8 9    refused: the tail is 9
        naive                                     … 7 8 9 8  out of order, and twice

    Nor does the tail alone. Redis may lose the log, and a new log may end at the same place with
    other content, as the events of one cluster time (a, b) can come in one reply of MongoDB or in
    two:

        log x, of A, lost     start 7.0   [a b] 7.1    A continues with c: append [c] after 7.1
        log y, of B           start 7.0   [a]   7.1    B continues with b: append [b] after 7.1
        naive                 start 7.0   [a]   7.1    [c]: A comes first, and b is never sent
    """

    async def append(self, entry: Entry, after: EntryId | None, log_id: str | None = None) -> str:
        """Adds `entry` if the log ends with `after` (None: the log is empty) and is the log
        `log_id` (None: any log). Returns the log's id, which is a new one if `entry` is a start
        entry: that replaces everything that the log holds.

        Raises `LogMismatch` if the log is another one or does not end with `after`; `LeaseLost` if
        the lease was taken through this object and another owner holds it now (only where several
        processes share the log).
        """

    async def extent(self) -> Extent:
        """Returns the bounds of the log as they are now."""

    async def read(self, after: EntryId | None, limit: int) -> list[Entry]:
        """Returns the next entries after `after` (None: from the first): at most `limit`, and no
        more once they hold `MAX_READ_BYTES`.

        If the log was trimmed or replaced, the first of them may not be the one that followed
        `after`: `Entry.previous` and `Entry.log_id` tell.
        """

    @property
    def generation(self) -> int:
        """How many times the log was heard to grow. Take it before `read`, and pass it to `wait`."""

    async def wait(self, generation: int, timeout_seconds: float) -> None:
        """Returns once the log has grown after `generation`, or when the time is over. A missed
        doorbell costs the rest of the time and nothing else."""

    async def trim(self) -> None:
        """Drops the oldest entries that exceed the log's size or age."""

    async def acquire_lease(self, owner: str, seconds: float) -> bool:
        """Takes or renews the lease, and returns whether `owner` holds it. The lease decides which
        watcher works; what may be appended is decided by `append`."""

    async def release_lease(self, owner: str) -> None:
        """Gives the lease up if `owner` holds it."""

    async def leader(self) -> str | None:
        """Returns the owner of the lease, or None."""

    async def close(self) -> None:
        """Closes connections. The log keeps its content."""
