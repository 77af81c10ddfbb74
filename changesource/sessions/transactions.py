"""Log entries → Zero transactions on one connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from changesource.log.entries import Entry
from changesource.protocol import frames
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import NOTHING, ClientView, Withheld
from changesource.sessions.acknowledgements import InFlight
from changesource.sessions.outlet import PacedOutlet


class TransactionSender:
    """Sends each transaction whole, between one begin and one commit, at a watermark above all before it.

    `last` is the watermark that the replica has. What `view` does not show is left out, and a transaction without rows is
    not sent.
    """

    def __init__(self, outlet: PacedOutlet, in_flight: InFlight, view: ClientView, last: Position) -> None:
        self.last = last
        self._outlet = outlet
        self._in_flight = in_flight
        self._view = view
        self._withheld: Withheld = NOTHING
        self._open: Position | None = None
        self._open_bytes = self._open_rows = 0

    @property
    def is_open(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._open is not None

    async def send(self, entry: Entry) -> bool:
        """Whether the entry ended a transaction that was sent. Raises `ClientStalled`."""
        rows = self._view.select_frames(entry, self._withheld)
        if self._open is not None and entry.id.part == 0:
            self._open = None
            await self._outlet.send([frames.rollback()])
        out: list[bytes] = []
        if self._open is None:
            if not rows:
                return False
            await self._in_flight.wait_for_room()
            self._open = self._next(entry.position)
            self._open_bytes = self._open_rows = 0
            out.append(frames.begin(self._open))
        out += rows
        self._open_rows += len(rows)
        self._open_bytes += sum(map(len, rows))
        if not entry.is_final:
            await self._outlet.send(out)
            return False
        await self._commit(self._open, out, entry.commit_time_ms)
        return True

    def show(self, view: ClientView) -> None:
        """From now on, something else."""
        self._view = view
        self._withheld = NOTHING

    def withhold(self, withheld: Withheld) -> None:
        """From now on, until `show`, not what is `withheld`."""
        self._withheld = withheld

    async def begin(self, position: Position) -> None:
        """Begins a transaction that the caller fills by `add`, which no entry is part of. One that is open has been
        interrupted."""
        if self._open is not None:
            self._open = None
            await self._outlet.send([frames.rollback()])
        await self._in_flight.wait_for_room()
        self._open = self._next(position)
        self._open_bytes = self._open_rows = 0
        await self._outlet.send([frames.begin(self._open)])

    async def add(self, rows: Iterable[bytes]) -> None:
        """Frames of the transaction that `begin` began, as many as there are."""
        await self._outlet.send(self._counted(rows))

    async def add_changes(self, entry: Entry) -> None:
        """What an entry changes, as a part of that transaction."""
        await self.add(self._view.select_frames(entry, self._withheld))

    async def commit(self, commit_time_ms: int) -> None:
        """Ends that transaction."""
        assert self._open is not None  # noqa: S101 (`begin` came before)
        await self._commit(self._open, [], commit_time_ms)

    def _counted(self, rows: Iterable[bytes]) -> Iterator[bytes]:
        for row in rows:
            self._open_rows += 1
            self._open_bytes += len(row)
            yield row

    async def send_empty(self, position: Position, commit_time_ms: int) -> None:
        """A transaction without rows moves the replica's watermark on; nothing else does."""
        await self._in_flight.wait_for_room()
        self._open = self._next(position)
        self._open_bytes = self._open_rows = 0
        await self._commit(self._open, [frames.begin(self._open)], commit_time_ms)

    def _next(self, position: Position) -> Position:
        return max(position, Position.from_number(self.last.number + 1))

    async def _commit(self, position: Position, out: list[bytes], commit_time_ms: int) -> None:
        self._in_flight.sent(position, self._open_rows, self._open_bytes)
        await self._outlet.send([*out, frames.commit(position, commit_time_ms)])
        self.last = position
        self._open = None
