"""How large the body of a request may be, and how slowly it may come."""

from __future__ import annotations

MAX_BODY_BYTES = 3 * 2**20
"""Whatever serves it has all of a body in memory. Django takes forms of 2.5 MB."""
BODY_SECONDS = 60.0
"""How long the largest body may take."""
LEAST_BYTES_PER_SECOND = 1024
"""How fast a body has to come on the average, after its first seconds."""


class Body:
    """The body of one request as it comes in; `now` is a monotonic clock's.

    Args:
        first_seconds: how long the body may take to begin. 0: it may take any time.
    """

    def __init__(self, first_seconds: float, now: float) -> None:
        self._first_seconds = first_seconds
        self._began = now
        self._received = 0

    def take(self, count: int) -> bool:
        """Counts `count` more bytes. Whether the body is still small enough."""
        self._received += count
        return self._received <= MAX_BODY_BYTES

    @property
    def deadline(self) -> float | None:
        """When more has to be there, unless the body has ended. Each byte that comes moves it a little."""
        if not self._first_seconds:
            return None
        seconds = self._first_seconds + self._received / LEAST_BYTES_PER_SECOND
        return self._began + min(seconds, self._first_seconds + BODY_SECONDS)


def is_too_large(content_length: bytes) -> bool:
    """Whether a `Content-Length` announces more than is taken. What is no number is for others to refuse."""
    return content_length.isdigit() and (len(content_length) > 18 or int(content_length) > MAX_BODY_BYTES)
