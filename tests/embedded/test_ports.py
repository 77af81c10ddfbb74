"""ports.py: free ports that stay free."""

import socket
import subprocess
import sys

import pytest

from zerosources.embedded import ports

RESERVES = """
import sys
from zerosources.embedded.ports import reserve
port = int(sys.argv[1])
print(reserve(range(port, port + 1)))
"""


def test_free_port_can_be_listened_on() -> None:
    """A server can listen on the port that has been given out."""
    with socket.create_server(("127.0.0.1", ports.free_port())):
        pass


def test_consecutive_ports_are_all_reserved() -> None:
    """Ports that were asked for together are not given out again."""
    first = ports.free_port(count=3)
    assert not any(ports.reserve(range(port, port + 1)) for port in (first, first + 1, first + 2))


def test_port_is_reserved_for_other_processes() -> None:
    """Another launcher does not get a port whose server is down for the moment."""
    done = subprocess.run(
        [sys.executable, "-c", RESERVES, str(ports.free_port())], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_port_in_use_is_not_free(address: str) -> None:
    """A port that something listens on is not free, on whatever address."""
    with socket.create_server((address, 0)) as listener:
        port = listener.getsockname()[1]
        assert not ports.is_free(port)
        assert not ports.reserve(range(port, port + 1))


def test_failed_reservation_holds_nothing() -> None:
    """If one of several ports is taken, the others stay available."""
    second = ports.free_port()
    before = second - 1
    if ports.is_free(before) and (probe := ports.bind_udp(before)) is not None:
        probe.close()
        assert not ports.reserve(range(before, second + 1))
        assert ports.reserve(range(before, second))


def test_no_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a free port there is an error that says so."""
    monkeypatch.setattr(ports, "is_free", lambda port: False)
    with pytest.raises(OSError, match="No 2 consecutive free TCP ports"):
        ports.free_port(count=2)
