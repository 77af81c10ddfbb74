"""Writers that keep a database busy while something else happens."""

import random
import threading
import time
from collections.abc import Sequence
from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure, PyMongoError

COLLECTIONS = ("accounts", "orders", "notes")
LEDGER = ("ledger", "audit")
"""Filled by transactions only, and never changed afterwards: all documents of a transaction bear its number."""

SCHEMA: dict[str, Any] = {
    "tables": {
        **{
            name: {
                "name": name,
                "columns": {
                    "_id": {"type": "string"},
                    "n": {"type": "number", "optional": True},
                    "text": {"type": "string", "optional": True},
                    "tags": {"type": "json", "optional": True},
                },
                "primaryKey": ["_id"],
            }
            for name in COLLECTIONS
        },
        **{
            name: {
                "name": name,
                "columns": {"_id": {"type": "string"}, "transaction": {"type": "string"}, "of": {"type": "number"}},
                "primaryKey": ["_id"],
            }
            for name in LEDGER
        },
    },
    "relationships": {},
}


def fill(database: Database[dict[str, Any]], count: int) -> None:
    """`count` documents in each collection, so that a snapshot takes its time."""
    for name in COLLECTIONS:
        database[name].insert_many(
            [{"_id": f"seed-{i}", "n": i, "text": "seed " * 10, "tags": [i]} for i in range(count)]
        )


class Workload:
    """Threads that insert, update, replace and delete at random, a few of them in multi-document transactions.

    `rate` is operations a second over all threads, some of which are several writes. As a context manager it begins on entry
    and has ended on exit; `writes_per_second` is of the time from its entry until it is asked, or has ended.
    """

    def __init__(self, database: Database[dict[str, Any]], *, seed: int, rate: float = 400, threads: int = 2) -> None:
        self._database = database
        self._stop = threading.Event()
        self._pause = threads / rate
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(f"{seed}-{i}"), i), name=f"writer-{i}")
            for i in range(threads)
        ]
        self._counts = [0] * threads
        self._errors: list[PyMongoError] = []
        self._started_at = 0.0
        self._ended_at: float | None = None

    @property
    def writes(self) -> int:
        return sum(self._counts)

    @property
    def writes_per_second(self) -> float:
        return self.writes / ((self._ended_at or time.monotonic()) - self._started_at)

    def __enter__(self) -> "Workload":
        self._started_at = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._ended_at = time.monotonic()
        assert not self._errors, self._errors

    def _run(self, rng: random.Random, index: int) -> None:
        ids = [f"w{index}-{i}" for i in range(200)] + [f"seed-{i}" for i in range(200)]
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                self._counts[index] += self._write(rng, ids, index)
                due += self._pause
                self._stop.wait(max(0.0, due - time.monotonic()))
        except PyMongoError as error:
            self._errors.append(error)

    def _write(self, rng: random.Random, ids: Sequence[str], index: int) -> int:
        collection = self._database[rng.choice(COLLECTIONS)]
        document_id = rng.choice(ids)
        content = {"n": rng.randrange(10**6), "text": rng.choice(["ä", "日本", "x" * 50]), "tags": [rng.random()]}
        match rng.randrange(12):
            case 0 | 1 | 2 | 3:
                collection.replace_one({"_id": document_id}, content, upsert=True)
            case 4 | 5 | 6 | 7:
                collection.update_one({"_id": document_id}, {"$set": {"n": content["n"]}, "$unset": {"text": ""}})
            case 8 | 9:
                collection.delete_one({"_id": document_id})
            case 10:
                collection.update_many({"_id": {"$in": rng.sample(ids, 5)}}, {"$inc": {"n": 1}})
            case 11:
                return self._transaction(rng, ids, index)
        return 1

    def _transaction(self, rng: random.Random, ids: Sequence[str], index: int) -> int:
        number = f"{index}-{self._counts[index]}-{rng.randrange(10**9)}"
        size = rng.choice([2, 3, 5, 20])
        documents = [{"_id": f"{number}-{i}", "transaction": number, "of": size} for i in range(size)]
        try:
            with self._database.client.start_session() as session, session.start_transaction():
                for i, document in enumerate(documents):
                    self._database[LEDGER[i % 2]].insert_one(document, session=session)
                self._database[COLLECTIONS[0]].update_one(
                    {"_id": rng.choice(ids)}, {"$set": {"n": -1}}, upsert=True, session=session
                )
        except OperationFailure as error:
            if not error.has_error_label("TransientTransactionError"):
                raise
            return 0
        return size + 1
