"""How long a write takes until it is committed in a replica."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from typing import Any, NamedTuple

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from tests.node.tools import SCRIPT_DIR
from zerosources.embedded.node import ensure_packages, node_executable
from zerosources.embedded.zero_cache import ZeroCache

PULSE_SECONDS = 0.1
PULSE_ID = "pulse"


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


class LagMeter:
    """Watches the pulse arrive in the replica of `zero_cache`, which has its first snapshot. As a context manager it begins
    on entry and has ended on exit. A pulse that another overtook on the way counts as arrived with that one."""

    def __init__(self, pulse: Pulse, zero_cache: ZeroCache) -> None:
        self.lags: list[Lag] = []
        self.last_seen: int | None = None
        self._pulse = pulse
        self._replica_path = zero_cache.replica_path
        self._thread = threading.Thread(target=self._read, name="lag")

    def __enter__(self) -> LagMeter:
        self._process = subprocess.Popen(
            [str(node_executable()), str(SCRIPT_DIR / "follow_number.mjs"), str(self._replica_path), "pulses"],
            env={**os.environ, "ZERO_NODE_MODULES": str(ensure_packages())},
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.wait()
        self._thread.join()

    @property
    def is_watching(self) -> bool:
        return self._process.poll() is None

    def since(self, moment: float) -> list[float]:
        """The lags, in seconds, of what was sent at this time or later and has arrived."""
        found = []
        for lag in reversed(self.lags):
            if lag.sent < moment:
                break
            found.append(lag.seconds)
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                number, milliseconds = (int(part) for part in line.split())
                # Of the first one seen it is not known since when it has been there.
                if self.last_seen is not None:
                    for arrived in range(self.last_seen + 1, number + 1):
                        sent = self._pulse.sent[arrived]
                        self.lags.append(Lag(sent, milliseconds / 1000 - sent))
                self.last_seen = number
