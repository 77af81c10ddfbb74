"""Token buckets: an action may happen so many times a minute, even all at once."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

SECONDS = 60.0
MAX_BUCKETS = 10_000
"""Some 2 MB. Beyond that the least recently used bucket is dropped, which has the same effect as
filling it."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class TokenBuckets:
    """One bucket for each key, full at first, in the memory of this process. Thread-safe."""

    def __init__(
        self, per_minute: int, *, max_buckets: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._max_buckets = max_buckets
        self._clock = clock
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> bool:
        """Takes a token of `key` and says whether there was one; always True without a limit."""
        if not self._per_minute:
            return True
        with self._lock:
            return self._take(key, self._clock())

    def seconds_until_free(self, key: Hashable) -> int:
        """How long `key` has to wait for its next token, in whole seconds, at least 1, for
        `Retry-After`."""
        bucket = self._buckets.get(key)
        missing = 0.0 if bucket is None else 1 - bucket.tokens
        return max(1, math.ceil(missing * SECONDS / self._per_minute)) if self._per_minute else 1

    def __len__(self) -> int:
        return len(self._buckets)

    def _take(self, key: Hashable, now: float) -> bool:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._per_minute, now)
            if len(self._buckets) > self._max_buckets:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        refill = (now - bucket.at) * self._per_minute / SECONDS
        bucket.tokens, bucket.at = min(self._per_minute, bucket.tokens + refill), now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
