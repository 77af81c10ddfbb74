"""Addresses that connections come from, written in one way."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

UNKNOWN = "unknown"
FORWARDED_FOR = b"x-forwarded-for"
IPV6_PREFIX = 64
"""What one customer of a provider has at least."""


def address_of(scope: dict[str, Any]) -> str:
    """The normalised address of an ASGI scope's client."""
    client = scope.get("client")
    return normalised(str(client[0])) if client else UNKNOWN


def normalised(text: str) -> str:
    """An IPv4 or IPv6 address as `ipaddress` writes it, without a port, a zone or IPv6 around IPv4; `UNKNOWN` for anything
    else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def network_of(address: str) -> str:
    """What counts as one address for limits: of IPv6 the /64, in which anybody may choose among 2**64."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def forwarded_address(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """Who the nearest proxy says the request is from; None without the header.

    That is the last address of the last `X-Forwarded-For`: a proxy adds to the end, and whatever comes before may be the
    caller's own invention.
    """
    values = [value for name, value in headers if name == FORWARDED_FOR]
    return normalised(values[-1].decode("latin-1").rpartition(",")[2]) if values else None
