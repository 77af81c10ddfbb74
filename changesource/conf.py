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
    audit_days: int = 90
    """For how many days the changes of clients and refused connections are kept. 0: for ever."""


def load_settings() -> ChangeSourceSettings:
    """From Django's settings: `CHANGESOURCE_SOURCES`, `REDIS_URL`, and the dict `CHANGESOURCE` for the rest."""
    return ChangeSourceSettings(
        sources=settings.CHANGESOURCE_SOURCES, redis_url=settings.REDIS_URL, **settings.CHANGESOURCE
    )
