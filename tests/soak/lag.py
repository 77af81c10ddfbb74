"""How long a write takes until it is committed in a stream or in a replica."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from tests.benchmarks.raw_client import RawClient
from tests.node.tools import SCRIPT_DIR
from zerosources.embedded.node import ensure_packages, node_executable
from zerosources.embedded.zero_cache import ZeroCache

PULSE_SECONDS = 0.1
PULSE_ID = "pulse"
PULSE_MARK = b'"_id":"pulse"'


class Lag(NamedTuple):
    """Of one pulse: when it was sent, in seconds since 1970, and how long it took."""

    sent: float
    seconds: float


class Pulse:
    """A thread that counts up a number in one document of `collection`. As a context manager it begins on entry and has
    ended on exit. `sent` holds when each number was about to be written.

    Raises:
        PyMongoError: on exit, if a write failed.
    """

    def __init__(self, collection: Collection[dict[str, Any]]) -> None:
        self.sent = [time.time()]
        self._collection = collection
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse")
        self._error: PyMongoError | None = None

    def __enter__(self) -> Pulse:
        self._collection.insert_one({"_id": PULSE_ID, "n": 0})
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(PULSE_SECONDS):
                self.sent.append(time.time())
                self._collection.update_one({"_id": PULSE_ID}, {"$set": {"n": len(self.sent) - 1}})
        except PyMongoError as error:
            self._error = error


class LagMeter(ABC):
    """Watches the pulse arrive at the place that it is named after. As a context manager it begins on entry and has ended on
    exit. A pulse that another overtook on the way counts as arrived with that one.

    Attributes:
        fraction: the percentile that says whether the lag grows.
    """

    fraction = 0.99

    def __init__(self, name: str, pulse: Pulse) -> None:
        self.name = name
        self.lags: list[Lag] = []
        self.last_seen: int | None = None
        self._pulse = pulse
        self._thread = threading.Thread(target=self._read, name=f"lag of {name}")

    def __enter__(self) -> LagMeter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        self._thread.join()

    @property
    def is_watching(self) -> bool:
        return self._thread.is_alive()

    def since(self, moment: float) -> list[float]:
        """The lags, in seconds, of what was sent at this time or later and has arrived."""
        found = []
        for lag in reversed(self.lags):
            if lag.sent < moment:
                break
            found.append(lag.seconds)
        return found

    @abstractmethod
    def _read(self) -> None:
        """Calls `_arrived` for what it sees, until `_stop` was called or there is no more to see."""

    @abstractmethod
    def _stop(self) -> None:
        """From another thread: `_read` is to end."""

    def _arrived(self, number: int, moment: float) -> None:
        """`moment` is in seconds since 1970."""
        # Of the first one seen it is not known since when it has been there.
        if self.last_seen is not None:
            for arrived in range(self.last_seen + 1, number + 1):
                sent = self._pulse.sent[arrived]
                self.lags.append(Lag(sent, moment - sent))
        self.last_seen = number


class ReplicaLag(LagMeter):
    """In the file of a zero-cache's replica, which has its first snapshot.

    zero-cache 1.9.0 stands still for 5 s in many a minute: each 30 s its replica-monitor closes a connection to the file,
    which runs `PRAGMA optimize`. If that wants to write while a transaction is half applied, it waits for the lock with the
    very thread that should pass on the rest of the transaction, until SQLite gives up (`SQLITE_BUSY` in zero-cache's log).
    One such time in a minute is in p99, not in p90.
    """

    fraction = 0.9

    def __init__(self, name: str, pulse: Pulse, zero_cache: ZeroCache) -> None:
        super().__init__(name, pulse)
        self._process = subprocess.Popen(
            [str(node_executable()), str(SCRIPT_DIR / "follow_number.mjs"), str(zero_cache.replica_path), "pulses"],
            env={**os.environ, "ZERO_NODE_MODULES": str(ensure_packages())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                number, milliseconds = (int(part) for part in line.split())
                self._arrived(number, milliseconds / 1000)

    def _stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


class StreamLag(LagMeter):
    """At a client of the stream that does nothing but take it: what this project is answerable for."""

    def __init__(self, name: str, pulse: Pulse, url: str) -> None:
        super().__init__(name, pulse)
        snapshot = list(RawClient(url))
        version = json.loads(snapshot[0])[2]["commitWatermark"]
        self._client = RawClient(f"{url}&lastWatermark={version}&replicaVersion={version}")

    def _read(self) -> None:
        number = None
        for frame in self._client:
            if PULSE_MARK in frame:
                number = int(json.loads(frame)[1]["new"]["n"])
            elif frame.startswith(b'["commit"'):
                moment = time.time()
                _, commit, watermark = json.loads(frame)
                self._client.send(json.dumps(["status", commit, watermark]).encode())
                if number is not None:
                    self._arrived(number, moment)
                    number = None

    def _stop(self) -> None:
        self._client.shut_down()
