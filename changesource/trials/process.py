"""Runs a trial in a process of its own.

    Django, in the process that serves streams          python -m changesource.trials
      run_trial(request) ── request as JSON, stdin ──▶  keeps to its limits, asks MongoDB, maps, matches
                         ◀── a line for each item ────  never touches Django's database

The process gets a definition, one URI and no other secret. Anything that it prints besides its
answer is discarded, because it could hold part of a document.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from changesource import errors
from changesource.errors import ChangeSourceError, TrialBeyondLimits, TrialFailed, TrialsBusy
from changesource.trials.limits import PAGE_LIMITS, TrialLimits

logger = logging.getLogger(__name__)

MODULE = "changesource.trials"
ROOT = Path(__file__).resolve().parents[2]
"""Where the package `changesource` is imported from."""
CONCURRENT_TRIALS = 2
"""How many trials a process runs at once: they share the machine with its streams."""
WAIT_SECONDS = 5.0
"""How long another trial waits for one of them to end."""
SECRETS = ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "MONGODB_URI", "JWT_", "USER_JWT_")
"""The prefixes of the environment variables that a trial does not get."""

_slots = threading.BoundedSemaphore(CONCURRENT_TRIALS)


@dataclass(frozen=True, slots=True)
class TrialAnswer:
    """The items in order. `is_cut` says that more would have exceeded the limit of the output."""

    items: list[Any]
    is_cut: bool


def run_trial(request: Mapping[str, Any], limits: TrialLimits = PAGE_LIMITS, *, cuts: bool = True) -> TrialAnswer:
    """The answer of the trial that `request` names; `changesource.trials.__main__` lists the
    trials.

    An answer beyond the limit of the output is cut, or raises `TrialBeyondLimits` unless `cuts`.
    Raises `TrialBeyondLimits`, `TrialsBusy`, `TrialFailed`, and whatever the trial itself raises.
    """
    text = json.dumps({**request, "limits": dataclasses.asdict(limits), "cuts": cuts}).encode()
    if not _slots.acquire(timeout=WAIT_SECONDS):
        raise TrialsBusy(f"{CONCURRENT_TRIALS} trials of drafts are running already. Try again in a few seconds.")
    try:
        status, output = _run(text, limits)
    finally:
        _slots.release()
    return _read_answer(status, output, limits)


def _run(text: bytes, limits: TrialLimits) -> tuple[int, bytes]:
    """The exit status and the output of the process, which has ended and been reaped when this
    returns or raises."""
    with subprocess.Popen(  # noqa: S603 (our own interpreter, with no input on its command line)
        [sys.executable, "-P", "-m", MODULE, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,  # a Ctrl-C in the terminal is for the command, which ends its trial
    ) as process:
        try:
            output, _ = process.communicate(text, timeout=limits.wall_seconds)
        except subprocess.TimeoutExpired:
            raise _too_slow(limits) from None
        finally:
            process.kill()
    return process.returncode, output


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**own, "PYTHONPATH": os.pathsep.join(paths)}


def _read_answer(status: int, output: bytes, limits: TrialLimits) -> TrialAnswer:
    *items, last = output.split(b"\n") if status == 0 else [b""]
    end = json.loads(last) if last else {}
    if "error" in end:
        raise _error_of(end, limits)
    if "is_cut" in end:
        return TrialAnswer([json.loads(item) for item in items], end["is_cut"])
    if status in (-signal.SIGXCPU, -signal.SIGALRM):
        raise _too_slow(limits)
    # Both C code and Linux may end a process that runs out of memory.
    logger.warning("a trial of a draft ended without an answer, with status %d", status)
    raise TrialBeyondLimits(
        "The trial ended without an answer, most likely because its memory ran out. Narrow the mapping or the filter."
    )


def _error_of(end: Mapping[str, str], limits: TrialLimits) -> ChangeSourceError:
    match end["error"]:
        case "memory":
            return TrialBeyondLimits(
                f"The trial used more than {limits.memory_bytes // 2**20} MiB of memory. Narrow the mapping or the "
                "filter, or look at fewer documents."
            )
        case "output":
            return TrialBeyondLimits(
                f"The answer of the trial is larger than {limits.output_bytes // 2**20} MiB. Look at fewer documents."
            )
        case "failed":
            logger.error("a trial of a draft failed: %s", end["message"])
            return TrialFailed()
        case name:
            found: type[ChangeSourceError] = getattr(errors, name)
            return found(end["message"])


def _too_slow(limits: TrialLimits) -> TrialBeyondLimits:
    return TrialBeyondLimits(
        f"The trial took more than {limits.cpu_seconds} seconds of processor time, or {limits.wall_seconds} seconds in "
        "all. Narrow the mapping or the filter, or look at fewer documents."
    )
