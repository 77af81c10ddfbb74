"""Typed settings of the change source, read in one place. Each comes from an environment variable of its own name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.conf import settings


@dataclass(frozen=True, slots=True)
class ChangeSourceSettings:
    """Durations are in seconds."""

    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Source name → MongoDB URI."""
    redis_url: str = field(default="", repr=False)
    """Empty: the log is in the memory of `manage.py serve`, which watches as well."""
    heartbeat_seconds: float = 10.0
    """How often a marker keeps the position of a quiet source fresh. 0: never."""
    lease_seconds: float = 5.0
    """How long a watcher that fell silent still counts as the leader."""
    quiet_commit_seconds: float = 60.0
    """After how long without a commit zero-cache gets an empty one, so that its position does not age."""
    stall_seconds: float = 120.0
    """How long zero-cache may read nothing, or acknowledge nothing, before its connection is dropped."""
    snapshot_plain_inserts: bool = False
    """Send snapshots as one message a row instead of many rows a message."""
    deflate: bool = False
    """Compress the stream when zero-cache offers it (permessage-deflate)."""
    handshakes_per_address: int = 600
    """WebSocket handshakes a minute of one address, before anybody knows who it is. 0, here and below: no limit."""
    handshakes_per_client: int = 300
    """WebSocket handshakes a minute of one client."""
    streams_per_client: int = 20
    """Open streams of one client, over all processes that share a Redis."""
    snapshots_per_app: int = 4
    """Snapshots of one app at a time, over all processes that share a Redis. Others wait."""
    max_upstream_bytes: int = 65_536
    """The longest message that zero-cache may send, after decompression."""
    upstream_messages_per_second: int = 2_000
    """How many messages of one connection are read a second. The rest is read later."""
    handshake_seconds: float = 10.0
    """How long a request's header, and a WebSocket's handshake, may take."""
    proxy_headers: bool = False
    """Believe `X-Forwarded-For`: all connections come through a proxy that sets it."""


def load_settings() -> ChangeSourceSettings:
    """From Django's settings: `CHANGESOURCE_SOURCES`, `REDIS_URL`, and the dict `CHANGESOURCE` for the rest."""
    return ChangeSourceSettings(
        sources=settings.CHANGESOURCE_SOURCES, redis_url=settings.REDIS_URL, **settings.CHANGESOURCE
    )
