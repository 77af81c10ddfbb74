"""What the change log holds, and its contract. `RedisLog` and `MemoryLog` keep it; one set of tests is run on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from changesource.protocol.watermarks import Position

MAX_PART = 2**32 - 1
MAX_READ_BYTES = 4 * 2**20
"""About how much is read at once. An entry can have this much, or some 32 MiB more when it ends with a huge row."""

NONCE_LENGTH = 32
"""Of the nonce of a marker, in characters, all of them ASCII."""
ACCESS_BYTES = 73
"""At most, of an `AccessCutover` as text: a client, a nonce and a cluster time."""

ANOTHER_LOG = "The log has been begun anew since, by another."


@dataclass(frozen=True, slots=True, order=True)
class EntryId:
    """The place of an entry: a position, and the number of the part for a transaction that takes several entries."""

    position: Position
    part: int = 0

    @classmethod
    def before(cls, cluster_time: int) -> EntryId:
        """A place before all entries of `cluster_time`, and after all earlier ones."""
        return cls(Position.from_number(Position(cluster_time).number - 1), MAX_PART)


@dataclass(frozen=True, slots=True)
class AccessCutover:
    """A client's access changes here. `nonce` is that of the stored access version. `cluster_time` is that of the marker's
    event, as the reader saw it: the entry's position may be later, because a log that goes on after an interruption repeats
    what it has after its tail."""

    client_id: int
    nonce: str
    cluster_time: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One Zero transaction, rendered, or a part of one.

    A transaction's parts have the same position and are numbered from 0; the last says `is_final`. A part 0 in place of
    the part that should follow means that the writer was interrupted and begins the transaction again: what came
    before it is to be rolled back.

    `tables` maps server table names to row frames, joined by newlines, in the order in which they apply. `markers` are
    the nonces of the barriers and heartbeats that were met in it, each of `NONCE_LENGTH`. `filter_values` has an item for
    each frame of the tables with filter columns, as `filter_values.pack_filter_values` gives it. `is_start` makes the entry
    the first of a log: everything from
    its cluster time on, inclusive, follows.

    `version` is the number of the published version that it was rendered with. An entry that says `is_publish` has no rows:
    that version is in force from its position on. One with an `access_cutover` has none either.

    The log itself says what the entry before was, `previous`, and names itself, `log_id`: each start begins a log by a new
    name. Entries of two logs may cut the events of one cluster time differently, so their places tell nothing about each
    other.
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
        """Bytes of its frames, and of what is kept beside them."""
        beside = NONCE_LENGTH * len(self.markers) + (ACCESS_BYTES if self.access_cutover is not None else 0)
        return sum(map(len, self.tables.values())) + sum(map(len, self.filter_values.values())) + beside


def pack_nonces(nonces: Sequence[str]) -> str:
    """The nonces side by side. They have one length, so no text of a nonce can pass for two."""
    if not all(len(nonce) == NONCE_LENGTH and nonce.isascii() for nonce in nonces):
        raise ValueError(f"a nonce has {NONCE_LENGTH} characters")
    return "".join(nonces)


def unpack_nonces(packed: str) -> tuple[str, ...]:
    """What `pack_nonces` took."""
    return tuple(packed[start : start + NONCE_LENGTH] for start in range(0, len(packed), NONCE_LENGTH))


@dataclass(frozen=True, slots=True)
class Extent:
    """What a log holds. `first`, `tail` and `whole` are None when it holds nothing.

    `whole` is the last entry that ended a transaction. A writer reads the source from there on: a transaction that was
    left unfinished at the tail may hold events of earlier cluster times than its position, and begins again.
    """

    first: EntryId | None = None
    tail: EntryId | None = None
    begins_with_start: bool = False
    whole: EntryId | None = None
    log_id: str = ""

    def covers(self, position: Position) -> bool:
        """Whether everything from the cluster time of `position` on, inclusive, can be read here, as far as the log goes.

        The first entry left after trimming may not be the first of its cluster time; a start entry is.
        """
        if self.first is None:
            return False
        first = self.first.position.cluster_time
        return position.cluster_time > first or (self.begins_with_start and position.cluster_time == first)


@dataclass(frozen=True, slots=True)
class Leadership:
    """Who writes a log (None: nobody), how long that is sure without another sign of life, and how many stand by."""

    leader: str | None
    seconds_left: float
    standbys: int


class ChangeLog(Protocol):
    """The rendered transactions of one app, in order, without holes between its ends.

    It is a cache of the oplog: losing it loses nothing. Every method raises `LogUnavailable` when the store is away.
    """

    async def append(self, entry: Entry, after: EntryId | None, log_id: str | None = None) -> str:
        """Adds `entry` if the log ends with `after` (None: the log is empty) and is that of `log_id` (None: whichever), else
        raises `LogMismatch`. Gives the log's id, another one when `entry` begins it.

        This compare-and-set, not the lease, is what keeps two writers from duplicating or reordering. A log that was lost
        and begun anew may end where the lost one did, and not hold the same: what follows in the one would leave a hole
        in the other. An entry that says `is_start` replaces all that the log holds.

        Who took the lease through this object may no longer append when another has it: `LeaseLost`, where several
        processes share the log.
        """

    async def extent(self) -> Extent:
        """What the log holds now."""

    async def read(self, after: EntryId | None, limit: int) -> list[Entry]:
        """The next entries after `after` (None: from the first), at most `limit`, and none more once they have
        `MAX_READ_BYTES`. They may begin later than what
        followed `after` when the log was trimmed or replaced: `Entry.previous` and `Entry.log_id` tell."""

    @property
    def generation(self) -> int:
        """Counts the times that the log was heard to grow. Take it before reading, and wait for it to pass."""

    async def wait(self, generation: int, timeout_seconds: float) -> None:
        """Returns when the log grew after `generation`, or when the time is over. A missed doorbell costs the rest of the
        time, nothing else."""

    async def trim(self) -> None:
        """Drops the oldest entries beyond the size and the age that the log may have."""

    async def acquire_lease(self, owner: str, seconds: float) -> bool:
        """Takes or renews the leadership of the log's writers. It decides who works, not what is true."""

    async def release_lease(self, owner: str) -> None:
        """Gives the leadership up, if `owner` has it."""

    async def leader(self) -> str | None:
        """Who writes the log now, if anybody."""

    async def close(self) -> None:
        """Frees connections; the log's content stays."""
