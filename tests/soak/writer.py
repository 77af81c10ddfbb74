"""Writes of a fixed rate that leave the collections as large as they were."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from typing import Any

from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import PyMongoError

Write = InsertOne[dict[str, Any]] | DeleteOne | UpdateOne

COLLECTIONS = ("orders", "lines")
THREADS = 4
DOCUMENTS = 500
"""Of each thread in each collection, all the time."""
ABSENT = 50
"""Beside them, documents that are not there for now."""
WRITES_OF_BATCH = 10
"""One request each, so that the writers leave the processor to what they measure."""
BATCHES_OF_TRANSACTION = 5
"""One batch of so many is a transaction over all collections."""

TEXT = "The quick brown fox jumps over the lazy dog. "


class SteadyWriters:
    """Threads that write `rate` documents a second: updates, and in transactions inserts and as many deletes. As a
    context manager they fill the collections and begin on entry, and have ended on exit.

    Raises:
        PyMongoError: on exit, if a write failed.
    """

    def __init__(self, database: Database[dict[str, Any]], rate: float) -> None:
        self._database = database
        self._pause = WRITES_OF_BATCH * THREADS / rate
        self._stop = threading.Event()
        self._batches = [Batches(number) for number in range(THREADS)]
        self._counts = [0] * THREADS
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"writer-{number}") for number in range(THREADS)
        ]
        self._errors: list[PyMongoError] = []

    @property
    def are_writing(self) -> bool:
        return not self._errors

    @property
    def writes(self) -> int:
        """Until now, not counting those that fill the collections."""
        return sum(self._counts)

    def __enter__(self) -> SteadyWriters:
        for batches in self._batches:
            for name, documents in batches.first_documents().items():
                self._database[name].insert_many(documents)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def _run(self, number: int) -> None:
        due = time.monotonic() + self._pause * number / THREADS
        try:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                writes = self._batches[number].next_batch()
                self._send(writes)
                self._counts[number] += sum(map(len, writes.values()))
                # A writer that was held up for long does not make up for it with a burst.
                due = max(due + self._pause, time.monotonic() - 1)
        except PyMongoError as error:
            self._errors.append(error)

    def _send(self, writes: dict[str, list[Write]]) -> None:
        if len(writes) == 1:
            self._send_each(writes, None)
        else:
            with self._database.client.start_session() as session, session.start_transaction():
                self._send_each(writes, session)

    def _send_each(self, writes: dict[str, list[Write]], session: ClientSession | None) -> None:
        for name, of_collection in writes.items():
            self._database[name].bulk_write(of_collection, session=session)


class Batches:
    """The writes of one thread, which has documents of its own: no two threads are in each other's way."""

    def __init__(self, number: int) -> None:
        self._dice = random.Random(number)
        self._ids = {name: [f"{number}-{each}" for each in range(DOCUMENTS)] for name in COLLECTIONS}
        self._absent = {name: deque(f"{number}-{DOCUMENTS + each}" for each in range(ABSENT)) for name in COLLECTIONS}
        self._batches = 0

    def first_documents(self) -> dict[str, list[dict[str, Any]]]:
        """What the collections are filled with."""
        return {name: [self._document(each) for each in ids] for name, ids in self._ids.items()}

    def next_batch(self) -> dict[str, list[Write]]:
        """Writes by collection: more than one collection makes a transaction."""
        self._batches += 1
        if self._batches % BATCHES_OF_TRANSACTION == 0:
            return {name: self._writes(name, WRITES_OF_BATCH // len(COLLECTIONS), exchanged=1) for name in COLLECTIONS}
        name = COLLECTIONS[self._batches % len(COLLECTIONS)]
        return {name: self._writes(name, WRITES_OF_BATCH)}

    def _writes(self, name: str, count: int, *, exchanged: int = 0) -> list[Write]:
        """`exchanged` documents go, and as many that went before come back; the rest are updates."""
        ids, absent = self._ids[name], self._absent[name]
        deleted = [ids.pop(self._dice.randrange(len(ids))) for _ in range(exchanged)]
        inserted = [absent.popleft() for _ in deleted]
        absent.extend(deleted)
        ids.extend(inserted)
        updated = [self._dice.choice(ids) for _ in range(count - 2 * len(deleted))]
        return [
            *(DeleteOne({"_id": each}) for each in deleted),
            *(InsertOne(self._document(each)) for each in inserted),
            *(
                UpdateOne({"_id": each}, {"$set": {"n": self._dice.randrange(10**6)}, "$inc": {"count": 1}})
                for each in updated
            ),
        ]

    def _document(self, document_id: str) -> dict[str, Any]:
        number = self._dice.randrange(10**6)
        customer = {"name": f"Customer {number}", "city": "Zürich"}
        return {
            "_id": document_id,
            "n": number,
            "count": 0,
            "text": TEXT * 3,
            "customer": customer,
            "tags": ["a", number],
        }
