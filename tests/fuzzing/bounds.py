"""Limits that every call of a target keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_SECONDS = 2.0
"""Of processor time, for inputs of a few kilobytes. Instrumented code is some ten times slower than without."""


class TooSlow(AssertionError):
    """A call took longer than an input of its size may."""


@contextmanager
def in_time() -> Iterator[None]:
    started = time.thread_time()
    yield
    taken = time.thread_time() - started
    if taken > MAX_SECONDS:
        raise TooSlow(f"{taken:.1f} seconds")
