"""What a zero-cache makes of log entries: rows, and their state at each commit."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from changesource.log.entries import Entry, EntryId
from tests.simulation.workload import COLLECTIONS, PAIRED

Row = dict[str, Any]
SOON_SECONDS = 30.0


class Replica:
    """Takes entries as a session does, and applies a transaction when its last part has come.

    Attributes:
        tables: rows by key, by table.
        committed: the place of the last part of each transaction, in order.
        part_counts: how many parts each transaction had.
        rows_of_parts: how many rows each part had.
        markers: the nonces of all markers in committed transactions, in order.
    """

    def __init__(self, tables: Iterable[str], on_commit: Callable[[list[Row]], None] | None = None) -> None:
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in tables}
        self.committed: list[EntryId] = []
        self.part_counts: list[int] = []
        self.rows_of_parts: list[int] = []
        self.markers: list[str] = []
        self._on_commit = on_commit
        self._parts: list[Entry] = []
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once the condition holds. It is checked after each commit; fails after a time."""
        async with asyncio.timeout(SOON_SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def changed(self) -> None:
        """Makes `until` check again."""
        self._changed.set()

    def apply(self, entry: Entry) -> None:
        if entry.id.part == 0:
            self._parts = []
        expected = self._parts[-1].id.part + 1 if self._parts else 0
        assert entry.id.part == expected, f"part {entry.id.part} in place of part {expected}"
        self._parts.append(entry)
        if entry.is_final:
            self._commit()

    def _commit(self) -> None:
        place = self._parts[-1].id
        written: list[Row] = []
        for part in self._parts:
            rows = list(self._write(part))
            written += rows
            self.rows_of_parts.append(len(rows))
            self.markers += part.markers
        self.committed.append(place)
        self.part_counts.append(len(self._parts))
        self._parts = []
        self.changed()
        if self._on_commit is not None:
            self._on_commit(written)

    def _write(self, part: Entry) -> Iterable[Row]:
        for table, frames in part.tables.items():
            for frame in frames.split(b"\n"):
                _, change = json.loads(frame)
                rows = self.tables[table]
                match change["tag"]:
                    case "insert":
                        rows[key_of(change["new"])] = change["new"]
                        yield change["new"]
                    case "delete":
                        rows.pop(key_of(change["key"]), None)
                    case "truncate":
                        rows.clear()


class BusyReplica(Replica):
    """A replica of the collections of a `Workload`. It checks at each commit that no transaction
    was split."""

    def __init__(self) -> None:
        super().__init__(COLLECTIONS, self._check)
        self._names: list[set[str]] = []

    def transactions_seen(self) -> set[str]:
        """Returns the names of the MongoDB transactions that wrote rows."""
        return set().union(*self._names)

    def transactions_split(self) -> list[str]:
        """Returns the names of the MongoDB transactions that wrote rows in more than one commit."""
        counts = Counter(name for names in self._names for name in names)
        return [name for name, count in counts.items() if count > 1]

    def _check(self, written: list[Row]) -> None:
        left, right = (self.tables[name] for name in PAIRED)
        assert left == right, "a transaction was split"
        values = [json.loads(row["value"]) for row in written if row["value"] is not None]
        self._names.append({value for value in values if isinstance(value, str)})


def key_of(row: Row) -> str:
    return json.dumps(row["_id"])


def frame_summary(frame: bytes) -> tuple[str, Any]:
    """Returns the tag of a frame, and its row or key."""
    _, change = json.loads(frame)
    return change["tag"], change.get("new", change.get("key"))
