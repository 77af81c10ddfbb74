"""How a long-running command stops: on SIGTERM or SIGINT, from its first moment on, with status 0.

It imports nothing of Django, so that `manage.py` can begin with it: without a handler, SIGTERM ends
a process with another status, and does nothing to the first process of a container.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

logger = logging.getLogger(__name__)

STOP_SECONDS = 9.0
"""After how long a stop that hangs is cut off. Nothing is lost, as a process may end at any
point."""

_stop: Callable[[], None] | None = None
_is_told = False


def end_when_told() -> None:
    """From now on a signal to stop ends the process at once with status 0, or calls the function
    given to `call_when_told`. Call this in the main thread. A second call changes nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note)


def fail_when_told() -> None:
    """Undoes `end_when_told`, for a command whose status says what it found."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def call_when_told(stop: Callable[[], None]) -> None:
    """The first signal to stop calls `stop`, which has to return at once; later signals do nothing.
    A process that has not ended within `STOP_SECONDS` is cut off."""
    global _stop
    _stop = stop
    if _is_told:
        stop()


def _note(number: int, frame: FrameType | None) -> None:
    global _is_told
    if _is_told:
        return
    _is_told = True
    if _stop is None:
        # Nothing runs that needs an orderly end. An import may be under way, and `SystemExit` would
        # be lost in a finalizer, and become another error in a class that is being created
        # (`__set_name__`, until Python 3.11).
        os._exit(0)
    cutter = threading.Timer(STOP_SECONDS, _cut_off)
    cutter.daemon = True
    cutter.start()
    _stop()


def _cut_off() -> None:
    logger.warning("not everything has ended within %.0f seconds; it is cut off", STOP_SECONDS)
    os._exit(0)
