"""Token buckets: so many times a minute, all of them at once if need be."""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

SECONDS = 60.0
MAX_BUCKETS = 10_000
"""Some 2 MB. Beyond that the one that was used least recently is forgotten, which is as if it were full again."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class TokenBuckets:
    """A bucket for each key, in this process's memory; full at first. Any thread may take from them."""

    def __init__(
        self, per_minute: int, *, max_buckets: int = MAX_BUCKETS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._max_buckets = max_buckets
        self._clock = clock
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: Hashable) -> bool:
        """Whether `key` had a token left. Always, when there is no limit."""
        if not self._per_minute:
            return True
        with self._lock:
            return self._take(key, self._clock())

    def seconds_until_free(self, key: Hashable) -> int:
        """How long `key` has to wait for its next token, in whole seconds from 1, as `Retry-After` says it."""
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
