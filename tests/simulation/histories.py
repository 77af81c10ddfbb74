"""Histories of a collection that never ran on a server, and readings of them: events with exact
images, cut into parts anywhere, with look-ups that see any later state. No server does this on
demand, but MongoDB does it from time to time."""

import asyncio
import copy
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from hypothesis import strategies as st

from changesource.log.entries import Entry
from changesource.mongo.assembler import Part
from changesource.mongo.events import ChangeEvent
from changesource.mongo.read_fields import Projection, projection_for
from changesource.protocol.watermarks import Position
from changesource.publishing.compiled import CompiledVersion
from changesource.replication import renderer
from changesource.replication.entry_reader import Numbering, entry_of
from changesource.replication.renderer import Renderer
from tests.mongo.builders import BEGIN
from tests.simulation.mapped_tables import COLLECTION, MappedReplica, Rows, rows_of
from tests.simulation.projecting import choose_projection, projected
from tests.simulation.row_errors import FoundErrors

Document = dict[str, Any]
State = dict[str, Document]

IDS = ("x", "y", "z")
CODES = ("c1", "c2", 5)
ITEM_IDS = ("i1", "i2", "i3", "i4")
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["a", "b", 7]),
    "n": st.sampled_from([1, 2, 3, "no number"]),
    "name": st.sampled_from(["12", "13", "Bern"]),
    "tags": st.lists(st.sampled_from(["red", "blue", None]), max_size=3) | st.just("red"),
    "unpublished": st.integers(0, 3),
}
FIELDS = (*VALUES, "code", "items")
parts_of_items = st.lists(st.integers(0, 2), max_size=2) | st.just(9) | st.none()
quantities = st.sampled_from([1, 2, "many"])


@dataclass
class History:
    """`states[i]` is the collection before `events[i]`; the last state is the one after all
    events."""

    events: list[ChangeEvent] = field(default_factory=list)
    states: list[State] = field(default_factory=lambda: [{}])


class _Writer:
    """Draws one history. No two documents have the same key at once: that would be a fault of the
    mapping, without a right outcome."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self.history = History()
        self._records_images = draw(st.sampled_from([True, True, False]))
        self._may_switch_images = draw(st.booleans())

    def write(self) -> None:
        if self._may_switch_images and self._draw(st.integers(0, 2)) == 0:
            self._records_images = not self._records_images
        now = copy.deepcopy(self.history.states[-1])
        number = self._draw(st.integers(0, 29))
        if number == 0:
            self._add(None, {}, None)
            return
        if number == 1:
            now = {}
            for document_id in self._draw(st.lists(st.sampled_from(IDS), unique=True)):
                now[document_id] = self._document(document_id, now)
            self._add(None, now, None, renamed_to=COLLECTION)
            return
        document_id = self._draw(st.sampled_from(IDS))
        if document_id not in now:
            now[document_id] = self._document(document_id, now)
            self._add(document_id, now, None)
        elif number < 7:
            del now[document_id]
            self._add(document_id, now, None, operation="delete")
        elif number < 10:
            now[document_id] = self._document(document_id, now)
            self._add(document_id, now, None)
        else:
            changed = self._draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2, unique=True))
            for name in changed:
                self._change(now, document_id, name)
            before = self.history.states[-1][document_id]
            really = [name for name in FIELDS if before.get(name, ...) != now[document_id].get(name, ...)]
            if really:
                self._add(document_id, now, frozenset(really))

    def _add(
        self,
        document_id: str | None,
        after: State,
        changed: frozenset[str] | None,
        operation: Any = "upsert",
        renamed_to: str | None = None,
    ) -> None:
        before = self.history.states[-1].get(document_id) if document_id else None
        is_insert = before is None and operation == "upsert"
        shows_before = self._records_images and before is not None
        shows_after = is_insert or changed is None or (self._records_images and self._draw(st.integers(0, 3)) > 0)
        self.history.events.append(
            ChangeEvent(
                operation=operation if document_id else "drop",
                collection=COLLECTION if renamed_to is None else "elsewhere",
                document_id=document_id,
                document=after.get(document_id) if document_id and shows_after else None,
                cluster_time=BEGIN + len(self.history.events),
                in_transaction=False,
                wall_time_ms=0,
                renamed_to=renamed_to,
                before=before if shows_before else None,
                is_before_known=is_insert or shows_before,
                changed=changed,
            )
        )
        self.history.states.append(after)

    def _document(self, document_id: str, now: State) -> Document:
        now[document_id] = {"_id": document_id}
        for name in self._draw(st.lists(st.sampled_from(FIELDS), unique=True)):
            self._change(now, document_id, name)
        return now[document_id]

    def _change(self, now: State, document_id: str, name: str) -> None:
        document = now[document_id]
        if name in document and self._draw(st.integers(0, 4)) == 0:
            del document[name]
        elif name == "code":
            document["code"] = self._draw(st.sampled_from([*self._free_codes(now, document_id), None]))
        elif name == "items":
            document["items"] = self._items(now, document_id)
        else:
            document[name] = self._draw(VALUES[name])

    def _free_codes(self, now: State, document_id: str) -> list[Any]:
        taken = [document.get("code") for name, document in now.items() if name != document_id]
        return [code for code in CODES if code not in taken]

    def _items(self, now: State, document_id: str) -> Any:
        taken = [
            item["id"] for name, document in now.items() if name != document_id for item in document.get("items") or ()
        ]
        free = [item_id for item_id in ITEM_IDS if item_id not in taken]
        if not free or self._draw(st.integers(0, 5)) == 0:
            return self._draw(st.sampled_from([[], None]))
        ids = self._draw(st.lists(st.sampled_from(free), max_size=3))
        return [{"id": found, "q": self._draw(quantities), "parts": self._draw(parts_of_items)} for found in ids]


@st.composite
def histories(draw: Any, max_events: int = 14) -> History:
    writer = _Writer(draw)
    for _ in range(draw(st.integers(1, max_events))):
        writer.write()
    return writer.history


@dataclass
class Reading:
    """How a history is read: from where, from where again, in which parts, and with which
    look-ups."""

    draw: Any
    history: History
    version: CompiledVersion
    errors: FoundErrors = field(default_factory=FoundErrors)

    def replica_after_all(self) -> MappedReplica:
        """Reads from a scan to the end, perhaps with a reader that breaks off and begins again from
        earlier."""
        count = len(self.history.events)
        replica = MappedReplica(self.version)
        begin = self.draw(st.integers(0, count))
        scanned = self._scanned(begin, self.draw(st.integers(begin, count)))
        replica.tables = self.rows_of(scanned)
        end = self.draw(st.integers(begin, count))
        self._read(replica, begin, end)
        self._read(replica, self.draw(st.integers(begin, end)), count)
        return replica

    def rows_of(self, documents: Sequence[Document]) -> dict[str, Rows]:
        """Returns the rows of a snapshot of these documents."""
        return rows_of(self.version, documents)

    def frames_of(self, entry: Entry) -> list[tuple[str, bytes]]:
        """Returns what is sent of an entry: names of tables with frames."""
        return [(table, frame) for table, frames in entry.tables.items() for frame in frames.split(b"\n")]

    def _read(self, replica: MappedReplica, begin: int, end: int) -> None:
        while begin < end:
            part_end = self.draw(st.integers(begin + 1, end))
            self._render(replica, self.history.events[begin:part_end], part_end)
            begin = part_end

    def _render(self, replica: MappedReplica, events: Sequence[ChangeEvent], after: int) -> None:
        """Renders events. What is looked up or scanned is at least as new as they are."""
        moment = self.draw(st.integers(after, len(self.history.events)))

        async def find_documents(
            _: Any, collection: str, ids: Sequence[Any], projection: Projection | None
        ) -> AsyncIterator[list[Document]]:
            assert collection == COLLECTION
            state = self.history.states[moment]
            yield [projected(state[document_id], projection) for document_id in ids if document_id in state]

        async def scan(_: Any, collection: str, fields: Collection[str]) -> AsyncIterator[list[Document]]:
            assert collection == COLLECTION
            for document in self._scanned(after, moment):
                yield [projected(document, projection_for(fields))]

        async def restore_pre_images(_: Any, collection: str) -> int:
            return 0

        async def run() -> None:
            renderer = Renderer(None, self.version, self.errors)  # type: ignore[arg-type]
            part = Part(events, events[-1].cluster_time)
            async for content in renderer.render(part):
                for table, frame in self.frames_of(entry_of(Numbering(Position(BEGIN)), self.version, part, content)):
                    replica.apply(table, frame)

        with patch.multiple(
            renderer,
            choose_projection=choose_projection,
            find_documents=find_documents,
            scan=scan,
            restore_pre_images=restore_pre_images,
        ):
            asyncio.run(run())

    def _scanned(self, begin: int, end: int) -> list[Document]:
        """Returns each document as it was at some moment of the scan."""
        moments = [self.history.states[self.draw(st.integers(begin, end))] for _ in IDS]
        return [state[name] for name, state in zip(IDS, moments, strict=True) if name in state]
