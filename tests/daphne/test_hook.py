"""hook.py: whose server Daphne makes."""

import subprocess
import sys
from typing import Any

import pytest
from daphne.server import Server

from changesource.daphne.hook import take_over_daphne
from changesource.daphne.server import StreamServer


async def application(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


@pytest.fixture(autouse=True)
def taken_over() -> None:
    for _ in range(2):
        take_over_daphne()


def test_daphnes_own_server() -> None:
    """Is one of ours, with what it was given, except where the settings say what holds."""
    server = Server(application, endpoints=["tcp:0"], server_name="mine", http_timeout=7, websocket_timeout=9)
    assert isinstance(server, StreamServer)
    assert (server.application, server.server_name, server.http_timeout) == (application, "mine", 7)
    assert server.websocket_timeout == -1


def test_a_subclass_of_somebody_elses() -> None:
    """Stays one, with its own way to be made."""

    class Mine(Server):
        def __init__(self, place: str) -> None:
            super().__init__(application, endpoints=[place])
            self.is_mine = True

    server = Mine("tcp:0")
    assert isinstance(server, StreamServer)
    assert server.is_mine
    assert server.websocket_timeout == -1


def test_our_own() -> None:
    """Is made as it is."""
    assert type(StreamServer(application, endpoints=["tcp:0"])) is StreamServer


def test_options_that_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    """Are named where somebody has given them, and are not where all are Daphne's own."""
    Server(application, endpoints=["tcp:0"], websocket_connect_timeout=5)
    assert caplog.text == ""
    Server(application, endpoints=["tcp:0"], ping_interval=1)
    assert "ping_interval" in caplog.text
    assert "ping_timeout" not in caplog.text


def test_a_process_without_daphne() -> None:
    """Imports neither Daphne nor Twisted for the application."""
    code = "import sys, zerosources.asgi; print([name for name in ('daphne', 'twisted', 'autobahn') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
