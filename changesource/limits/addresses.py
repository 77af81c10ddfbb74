"""The addresses that connections come from, in one normalised form."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

UNKNOWN = "unknown"
FORWARDED_FOR = b"x-forwarded-for"
IPV6_PREFIX = 64
"""Providers give each customer at least this prefix."""


def address_of(scope: dict[str, Any]) -> str:
    """The normalised address of an ASGI scope's client."""
    client = scope.get("client")
    return normalised(str(client[0])) if client else UNKNOWN


def normalised(text: str) -> str:
    """An IPv4 or IPv6 address as `ipaddress` writes it, without a port or a zone, and IPv4 if it is
    IPv4-mapped. `UNKNOWN` for any other text."""
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
    """What the limits count as one address: an IPv4 address, or an IPv6 /64, within which a client
    has 2**64 to choose from."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, IPV6_PREFIX), strict=False))


def forwarded_address(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The address that the nearest proxy says the request came from; None without the header.

    It is the last address of the last `X-Forwarded-For`: a proxy appends to the header, and the
    caller may have made up everything before that.
    """
    values = [value for name, value in headers if name == FORWARDED_FOR]
    return normalised(values[-1].decode("latin-1").rpartition(",")[2]) if values else None
