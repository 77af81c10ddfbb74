"""How a command that runs until it is told to ends: by SIGTERM or SIGINT, from its first moment on, with status 0.

Imports nothing of Django, so that `manage.py` can begin with it: without a handler SIGTERM ends a process with another
status, and does nothing to the first process of a container.
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
"""After how long a stop that hangs is cut off. Nothing is lost by that: a process may end at any point."""

_stop: Callable[[], None] | None = None
_is_told = False


def end_when_told() -> None:
    """From now on a signal to stop ends the process at once, with status 0, or calls what `call_when_told` was given. To be
    called in the main thread; again changes nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note)


def fail_when_told() -> None:
    """The opposite, for a command whose status says what it found: as if `end_when_told` had not been called."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def call_when_told(stop: Callable[[], None]) -> None:
    """The first signal to stop calls `stop`, which has to return at once; later ones do nothing. If it does not end the
    process within `STOP_SECONDS`, that is done here."""
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
        # Nothing runs that would have to end. `SystemExit` would be lost in a finalizer, and be another error in a class
        # that is being made (`__set_name__`, until Python 3.11): wherever an import happens to be.
        os._exit(0)
    cutter = threading.Timer(STOP_SECONDS, _cut_off)
    cutter.daemon = True
    cutter.start()
    _stop()


def _cut_off() -> None:
    logger.warning("not everything has ended within %.0f seconds; it is cut off", STOP_SECONDS)
    os._exit(0)
