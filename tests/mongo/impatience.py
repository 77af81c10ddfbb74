"""Tests wait for no MongoDB that is not there."""

import pytest
from pymongo import common

from changesource.mongo import source

SELECTION_MS = 50
LOOK_AGAIN_SECONDS = 0.025


def do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients of this test give up a server that is not there after 50 ms. Whatever a client's
    timeout is, PyMongo looks again, and at its timeout, only after half a second."""
    monkeypatch.setattr(source, "SERVER_SELECTION_TIMEOUT_MS", SELECTION_MS)
    look_again_soon(monkeypatch)


def look_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clients of this test look for a server that they have lost 40 times a second, and not twice."""
    monkeypatch.setattr(common, "MIN_HEARTBEAT_INTERVAL", LOOK_AGAIN_SECONDS)
