"""Log entries → Zero transactions on one connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from changesource.log.entries import Entry
from changesource.protocol import frames
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import NOTHING, ClientView, Withheld
from changesource.publishing.compiled import CompiledTableFrames
from changesource.sessions.acknowledgements import InFlight
from changesource.sessions.outlet import PacedOutlet
from changesource.tables.compiled_table import Row


class TransactionSender:
    """Sends each transaction whole, from begin to commit, at a watermark above all before it.

    `view` is what the client is shown: everything else is left out, and a transaction without rows
    is not sent. `last` is the watermark that the replica has.

    A transaction is either made from entries, by `send`, or filled by the caller: `begin`, `add` as
    often as needed, `commit`. Every method that sends raises `ClientStalled`, and in a snapshot
    `SnapshotTooSlow`.
    """

    def __init__(self, outlet: PacedOutlet, in_flight: InFlight, view: ClientView, last: Position) -> None:
        self.last = last
        self.view = view
        self._outlet = outlet
        self._in_flight = in_flight
        self._withheld: Withheld = NOTHING
        self._open: Position | None = None
        self._open_bytes = self._open_rows = 0

    @property
    def is_open(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._open is not None

    async def send(self, entry: Entry) -> bool:
        """Sends what an entry changes; whether it ended a transaction that was sent."""
        rows = self.view.select_frames(entry, self._withheld)
        if self._open is not None and entry.id.part == 0:
            await self._roll_back()
        out: list[bytes] = []
        position = self._open
        if position is None:
            if not rows:
                return False
            position = await self._open_at(entry.position)
            out.append(frames.begin(position))
        out += rows
        self._open_rows += len(rows)
        self._open_bytes += sum(map(len, rows))
        if not entry.is_final:
            await self._outlet.send(out)
            return False
        await self._commit(position, out, entry.commit_time_ms)
        return True

    async def send_empty(self, position: Position, commit_time_ms: int) -> None:
        """Sends a transaction without rows: only a commit moves the replica's watermark."""
        opened = await self._open_at(position)
        await self._commit(opened, [frames.begin(opened)], commit_time_ms)

    def show(self, view: ClientView) -> None:
        """Shows another view from now on, with nothing withheld."""
        self.view = view
        self._withheld = NOTHING

    def withhold(self, withheld: Withheld) -> None:
        """Leaves out what is `withheld` from now on, until `show`."""
        self._withheld = withheld

    async def begin(self, position: Position) -> None:
        """Begins a transaction that the caller fills. One that is open was interrupted, and is
        rolled back."""
        if self._open is not None:
            await self._roll_back()
        await self._outlet.send([frames.begin(await self._open_at(position))])

    async def add(self, frames: Iterable[bytes]) -> None:
        """Adds frames to the transaction that `begin` began."""
        await self._outlet.send(self._counted(frames))

    async def add_rows(self, table: CompiledTableFrames, rows: Iterable[Row]) -> None:
        """Adds those of `rows` that are shown, each whole but for what is withheld."""
        await self.add(self.view.upserts(table, iter(rows), self._withheld))

    async def add_changes(self, entry: Entry) -> None:
        """Adds what an entry changes."""
        await self.add(self.view.select_frames(entry, self._withheld))

    async def commit(self, commit_time_ms: int) -> None:
        """Ends the transaction that `begin` began."""
        assert self._open is not None  # noqa: S101 (`begin` came before)
        await self._commit(self._open, [], commit_time_ms)

    def _counted(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        for frame in frames:
            self._open_rows += 1
            self._open_bytes += len(frame)
            yield frame

    async def _open_at(self, position: Position) -> Position:
        """Where a transaction begins, once there is room for it: at `position`, or just above the
        last one."""
        await self._in_flight.wait_for_room()
        self._open = max(position, Position.from_number(self.last.number + 1))
        self._open_bytes = self._open_rows = 0
        return self._open

    async def _roll_back(self) -> None:
        self._open = None
        await self._outlet.send([frames.rollback()])

    async def _commit(self, position: Position, out: list[bytes], commit_time_ms: int) -> None:
        self._in_flight.sent(position, self._open_rows, self._open_bytes)
        await self._outlet.send([*out, frames.commit(position, commit_time_ms)])
        self.last = position
        self._open = None
