"""What a fault is, and which part of a system it breaks."""

from __future__ import annotations

from enum import StrEnum

from tests.faults.system import System


class Part(StrEnum):
    """Of a system: what only one fault at a time breaks."""

    WATCHERS = "watchers"
    SERVERS = "servers"
    ZERO_CACHE = "zero-cache"
    REDIS = "Redis"
    REDIS_NETWORK = "network of Redis"
    STREAM_NETWORK = "network of the stream"
    MONGO = "MongoDB"
    MONGO_NETWORK = "network of MongoDB"
    MARKERS = "markers"
    STRANGER = "client of somebody else"


class FaultMissed(Exception):
    """A fault found nothing to break, as another one had been there before it."""


class Fault:
    """`inject` does it and `heal` undoes it, and returns when the same can happen again. `heal` is called whenever something
    was broken.

    `hold_seconds` is how long it lasts, `parts` what of the system it has for itself meanwhile.
    """

    name: str
    hold_seconds = 1.5
    parts: frozenset[Part]

    def inject(self, system: System) -> None:
        """
        Raises:
            FaultMissed: there was nothing to break, and nothing is broken.
        """
        raise NotImplementedError

    def heal(self, system: System) -> None:
        raise NotImplementedError
