"""Free TCP ports of this machine. Test runs and other launchers at the same time get different ones."""

import random
import socket

# Below the ports that Linux and macOS assign to outgoing connections, which could take a free port at any moment.
FIRST_PORT, LAST_PORT = 20_000, 32_000

_random = random.SystemRandom()


def free_port(count: int = 1) -> int:
    """Returns the first of `count` consecutive TCP ports that no process listens on and no other launcher has taken.

    They stay reserved for this process as long as it lives, so that a server can be down for a while and come back.

    Raises:
        OSError: There are no such ports.
    """
    for _ in range(1000):
        first = _random.randint(FIRST_PORT, LAST_PORT - count)
        if reserve(range(first, first + count)):
            return first
    raise OSError(f"No {count} consecutive free TCP ports between {FIRST_PORT} and {LAST_PORT}.")


def reserve(ports: range) -> bool:
    """Reserves all these ports if all are free. Returns whether they were.

    The reservation is a UDP socket on the port of the same number: the servers need only TCP, the system gives the UDP
    port to no other process, and the socket vanishes with this process.
    """
    taken: list[socket.socket] = []
    for port in ports:
        if not is_free(port) or (reservation := bind_udp(port)) is None:
            break
        taken.append(reservation)
    if len(taken) < len(ports):
        for reservation in taken:
            reservation.close()
        return False
    for reservation in taken:
        reservation.detach()
    return True


def is_free(port: int) -> bool:
    """Whether a server could listen on this TCP port now, on every address."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def bind_udp(port: int) -> socket.socket | None:
    reservation = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        reservation.bind(("127.0.0.1", port))
    except OSError:
        reservation.close()
        return None
    return reservation
