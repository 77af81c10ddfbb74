"""How large the body of a request may be, and how slowly it may arrive."""

from __future__ import annotations

MAX_BODY_BYTES = 3 * 2**20
"""Servers hold a whole body in memory. Django accepts forms of 2.5 MB."""
BODY_SECONDS = 60.0
"""How long a body may take at most, after its first seconds."""
LEAST_BYTES_PER_SECOND = 1024
"""How fast a body has to arrive on average, after its first seconds."""


class Body:
    """The body of one request while it arrives.

    Args:
        first_seconds: how long the body may take to begin; 0 for no limit of time.
        now: the time by a monotonic clock.
    """

    def __init__(self, first_seconds: float, now: float) -> None:
        self._first_seconds = first_seconds
        self._began = now
        self._received = 0

    def take(self, count: int) -> bool:
        """Counts `count` more bytes and says whether the body is still small enough."""
        self._received += count
        return self._received <= MAX_BODY_BYTES

    @property
    def deadline(self) -> float | None:
        """When more of the body has to have arrived, unless it has ended. Each byte extends it a
        little; None for no limit."""
        if not self._first_seconds:
            return None
        seconds = self._first_seconds + self._received / LEAST_BYTES_PER_SECOND
        return self._began + min(seconds, self._first_seconds + BODY_SECONDS)


def is_too_large(content_length: bytes) -> bool:
    """Whether a `Content-Length` announces more than `MAX_BODY_BYTES`. A value that is not a number
    is refused elsewhere."""
    return content_length.isdigit() and (len(content_length) > 18 or int(content_length) > MAX_BODY_BYTES)
