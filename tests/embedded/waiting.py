"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], Result], timeout: float = 60) -> Result:
    """What `condition` returns once that is true in a boolean sense. Fails the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"Not within {timeout} s: {condition}"
        time.sleep(POLL_SECONDS)
    return result
