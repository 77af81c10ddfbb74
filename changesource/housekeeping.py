"""Python's collection of cyclic garbage, at times when it holds up nobody.

By itself it goes through all objects of the process, time after time, while a large document becomes many small objects: a
fifth of a second each for 120,000 rows, during which nothing else runs. Documents and rows have no cycles and do not need
it. So only young objects are looked at as they come, and all of them once a minute.
"""

from __future__ import annotations

import gc
import time

YOUNG_OBJECTS = 20_000
"""How many new ones are looked at together: some two milliseconds."""
NEVER = 1_000_000_000
COLLECT_SECONDS = 60.0


class GarbageCollection:
    """Of the whole process, between `begin` and `end`."""

    def __init__(self) -> None:
        self._usual = gc.get_threshold()
        self._collect_at = 0.0

    def begin(self) -> None:
        """What exists at this moment, the modules for the most part, is not looked at again."""
        self._usual = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, NEVER, NEVER)
        self._collect_at = time.monotonic() + COLLECT_SECONDS

    async def collect_if_due(self) -> None:
        """Looks at everything, once in `COLLECT_SECONDS`. A coroutine only for its caller, which has a list of such."""
        if time.monotonic() >= self._collect_at:
            gc.collect()
            self._collect_at = time.monotonic() + COLLECT_SECONDS

    def end(self) -> None:
        """As before `begin`. Again changes nothing."""
        gc.set_threshold(*self._usual)
        gc.unfreeze()
