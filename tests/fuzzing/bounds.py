"""Limits that every call of a target must keep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_SECONDS = 2.0
"""The processor time for an input of a few kilobytes. Instrumented code is about ten times slower than other code."""


class TooSlow(AssertionError):
    """A call took longer than an input of its size may."""


@contextmanager
def in_time() -> Iterator[None]:
    started = time.thread_time()
    yield
    taken = time.thread_time() - started
    if taken > MAX_SECONDS:
        raise TooSlow(f"{taken:.1f} seconds")
