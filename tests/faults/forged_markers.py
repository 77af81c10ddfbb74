"""What somebody who may write to the source can do to the markers in it: forge, copy, change and delete them.

The mark of the source itself is left alone: an app that meets another one there begins again, as it is meant to.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from bson import Binary, Decimal128, Int64, ObjectId
from bson.datetime_ms import DatetimeMS
from pymongo.errors import PyMongoError

from changesource.mongo.markers import MARKERS_COLLECTION
from tests.faults.fault import Fault, FaultMissed, Part
from tests.faults.operations import Operation
from tests.faults.system import System
from tests.faults.writers import is_interruption

Marker = dict[str, Any]

BURST = 100
IN_TRANSACTION = 20
LARGE_MARKERS = 3
LARGE_NONCE = 15 * 2**20
"""Characters. The document is just small enough for MongoDB."""
BEYOND_64_BITS = "9" * 20

NONCES: tuple[Any, ...] = (
    f"x access:1:aa:{BEYOND_64_BITS}",
    f"access:1:aa:{BEYOND_64_BITS}",
    "access:1:aa",
    "access:1:aa:1",
    f"access:{'9' * 19}:{'f' * 32}",
    "access:-1:aa",
    "access:1:aa access:1:bb:1 access:2:cc:1",
    "access:1:aa\naccess:2:bb:1",
    "x\0y",
    "",
    " ",
    "\u2028\u00a0",
    "\U0010ffff" * 1_000,
    "a" * 100_000,
    True,
    7,
    -1,
    Int64(2**62),
    1.5,
    float("nan"),
    Decimal128("NaN"),
    None,
    ["access:1:aa:1"],
    {"$ne": None},
    Binary(b"access:1:aa"),
    DatetimeMS(2**47),
    ObjectId("0" * 24),
)
VERSIONS: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 3, 999, 2**31, Int64(2**62), True, False, 1.0, 1.5, float("inf")),
    *("1", None, [1], {"$gt": 0}, Decimal128("1")),
)


class _MarkerFault(Fault):
    """One that writes to the collection of markers."""

    parts = frozenset({Part.MARKERS})
    hold_seconds = 0.0

    def __init__(self) -> None:
        self._dice = random.Random(self.name)

    def inject(self, system: System) -> None:
        markers = system.deployment.database[MARKERS_COLLECTION]
        written = 0
        try:
            for marker in self._markers(system):
                # The embedded MongoDB locks up when a collection is dropped while somebody else writes to it.
                with system.change_of_collections:
                    markers.replace_one({"_id": marker["_id"]}, marker, upsert=True)
                written += 1
        except PyMongoError as error:
            interrupt(error, is_missed=written == 0)

    def heal(self, system: System) -> None:
        """What is forged stays."""

    def _markers(self, system: System) -> Iterator[Marker]:
        raise NotImplementedError


class ForgedMarkers(_MarkerFault):
    """A hundred documents that are nearly markers: under ids of real ones, and under others; and some in a transaction, in
    which there is no real one."""

    name = "markers forged"

    def inject(self, system: System) -> None:
        super().inject(system)
        markers = islice(self._markers(system), IN_TRANSACTION)
        commands = [
            {"update": MARKERS_COLLECTION, "updates": [{"q": {"_id": marker["_id"]}, "u": marker, "upsert": True}]}
            for marker in markers
        ]
        try:
            with system.change_of_collections:
                Operation("markers", commands, is_transaction=True).send(system.deployment.database)
        except PyMongoError as error:
            interrupt(error, is_missed=False)

    def _markers(self, system: System) -> Iterator[Marker]:
        dice = self._dice
        app_id = system.deployment.app_id
        kinds = ("barrier", "heartbeat", "publish", "access:1", "access:2", "access:aa", "", "$set", "x" * 900)
        others: tuple[Any, ...] = (ObjectId(), 1, None, {"of": app_id}, True, Binary(b"barrier"))
        for number in range(BURST):
            # Each of the nonces once, with an app and an id that are right.
            is_nearly_right = number < len(NONCES)
            marker: Marker = {
                "_id": f"{dice.choice(kinds)}:{app_id}"
                if is_nearly_right or dice.random() < 0.7
                else dice.choice(others),
                "app": app_id if is_nearly_right or dice.random() < 0.9 else dice.choice([None, 1, [app_id], ""]),
                "nonce": NONCES[number] if is_nearly_right else dice.choice(NONCES),
                "at": dice.choice([DatetimeMS(0), "now", None, DatetimeMS(-(2**45))]),
            }
            if dice.random() < 0.5:
                marker["version"] = dice.choice(VERSIONS)
            if dice.random() < 0.1:
                del marker["nonce"]
            yield marker


class LargeMarkers(_MarkerFault):
    """Some of nearly 16 MB."""

    name = "markers of 16 MB"

    def _markers(self, system: System) -> Iterator[Marker]:
        app_id = system.deployment.app_id
        for number, kind in enumerate(
            self._dice.sample(["barrier", "heartbeat", "publish", "access:1"], LARGE_MARKERS)
        ):
            nonce = ("x", "access:1:", "a ")[number]
            marker_id = f"{kind}:{app_id}"
            yield {"_id": marker_id, "app": app_id, "nonce": (nonce * LARGE_NONCE)[:LARGE_NONCE]}
            yield {"_id": marker_id, "app": app_id, "nonce": "x"}


class MisusedMarkers(_MarkerFault):
    """Real ones that come again, under their own ids and others, are changed, and are deleted."""

    name = "markers copied and deleted"

    def inject(self, system: System) -> None:
        super().inject(system)
        markers = system.deployment.database[MARKERS_COLLECTION]
        are_real = {"_id": {"$ne": f"source:{system.deployment.app_id}"}}
        try:
            with system.change_of_collections:
                markers.update_many(are_real, {"$set": {"touched": self._dice.random()}})
                markers.update_many(are_real, {"$set": {"nonce": f"x access:1:aa:{BEYOND_64_BITS}"}})
                markers.delete_many(are_real)
        except PyMongoError as error:
            interrupt(error, is_missed=False)

    def _markers(self, system: System) -> Iterator[Marker]:
        app_id = system.deployment.app_id
        markers = system.deployment.database[MARKERS_COLLECTION].find({})
        # Not by $type, which looks into arrays: another fault leaves nonces that are arrays.
        real = [marker for marker in markers if isinstance(marker.get("nonce"), str)]
        for number in range(BURST if real else 0):
            copied = self._dice.choice(real)
            marker_id = copied["_id"] if self._dice.random() < 0.5 else f"copy-{number}:{app_id}"
            marker: Marker = {**copied, "_id": marker_id}
            if self._dice.random() < 0.3:
                nonce = marker["nonce"]
                marker["nonce"] = self._dice.choice([f"x {nonce}:1", f"{nonce}:1", f"{nonce} {nonce}", nonce.upper()])
            if self._dice.random() < 0.3:
                marker["version"] = self._dice.choice(VERSIONS)
            yield marker


def interrupt(error: PyMongoError, *, is_missed: bool) -> None:
    """What a write that failed means for its fault: MongoDB may be away.

    Raises:
        FaultMissed: nothing was written before.
        PyMongoError: it is another error.
    """
    if not is_interruption(error):
        raise error
    if is_missed:
        raise FaultMissed(str(error)) from error
