"""How much time, memory and output a trial may use, and how its process is held to that."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>"""
NICENESS = 5
"""Streams have priority where processors are scarce."""
FIRST_TO_BE_KILLED = "1000"
"""The highest `oom_score_adj`: when memory runs out, Linux kills the trial rather than the
streams."""


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """The limits of one trial. The defaults are for pages, which people wait for."""

    cpu_seconds: int = 5
    wall_seconds: int = 15
    """Counted from the start of the process, including the time spent waiting for MongoDB."""
    memory_bytes: int = 512 * 2**20
    """Address space. An idle trial has 66 MB (measured: Python 3.11, PyMongo 4.20, x86-64)."""
    output_bytes: int = 2**20
    """The size of the answer as JSON."""


PAGE_LIMITS = TrialLimits()


def keep_to(limits: TrialLimits, parent: int) -> None:
    """Limits this process, which `parent` has started, for the rest of its life. The kernel
    enforces all limits.

    Memory is limited on Linux only: macOS ignores RLIMIT_AS.
    """
    end_with(parent)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_seconds, limits.cpu_seconds + 1))
    # macOS refuses a limit that it cannot enforce.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(limits.wall_seconds)
    os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_BE_KILLED)


def end_with(parent: int) -> None:
    """Makes Linux kill this process when the thread that started it ends. Elsewhere the alarm of
    `keep_to` ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
