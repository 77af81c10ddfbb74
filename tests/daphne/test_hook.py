"""hook.py: which server Daphne creates."""

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


def test_daphnes_own_server_becomes_ours() -> None:
    """It keeps its arguments, except where the settings override them."""
    server = Server(application, endpoints=["tcp:0"], server_name="mine", http_timeout=7, websocket_timeout=9)
    assert isinstance(server, StreamServer)
    assert (server.application, server.server_name, server.http_timeout) == (application, "mine", 7)
    assert server.websocket_timeout == -1


def test_a_custom_subclass_stays_one() -> None:
    """Its own `__init__` runs."""

    class Mine(Server):
        def __init__(self, place: str) -> None:
            super().__init__(application, endpoints=[place])
            self.is_mine = True

    server = Mine("tcp:0")
    assert isinstance(server, StreamServer)
    assert server.is_mine
    assert server.websocket_timeout == -1


def test_our_own_server_is_created_as_it_is() -> None:
    """Without another class in front of it."""
    assert type(StreamServer(application, endpoints=["tcp:0"])) is StreamServer


def test_options_without_effect_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Only those that differ from the defaults of Daphne."""
    Server(application, endpoints=["tcp:0"], websocket_connect_timeout=5)
    assert caplog.text == ""
    Server(application, endpoints=["tcp:0"], ping_interval=1)
    assert "ping_interval" in caplog.text
    assert "ping_timeout" not in caplog.text


def test_a_process_without_daphne_does_not_import_it() -> None:
    """Nor Twisted."""
    code = "import sys, zerosources.asgi; print([name for name in ('daphne', 'twisted', 'autobahn') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
