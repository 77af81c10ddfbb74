"""Typed settings of the change source, read in one place. Each comes from an environment variable of its own name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.conf import settings

JWT_ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """Who signs JWTs for clients, and what their claims say. Without keys no JWT opens a stream."""

    secret: str = field(default="", repr=False)
    """For HS256, which the issuer has as well: 32 bytes or more."""
    keys: str = field(default="", repr=False)
    """Public keys in PEM, or a JWK set in JSON."""
    keys_file: str = ""
    """The same in a file."""
    jwks_url: str = field(default="", repr=False)
    """Where the issuer publishes its keys: https, or http on this machine."""
    algorithms: tuple[str, ...] = JWT_ALGORITHMS
    """Those that are accepted, each with keys of its own kind only."""
    audience: str = ""
    """What has to stand in `aud`."""
    issuer: str = ""
    """What has to stand in `iss`."""
    client_claim: str = "sub"
    """The claim that holds the client's name."""
    attributes: tuple[str, ...] = ()
    """Pairs `<attribute>=<claim>`: which claims are attributes of the client, for its row filters."""

    @property
    def is_on(self) -> bool:
        return bool(self.secret or self.keys or self.keys_file or self.jwks_url)


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
    deflate: bool = True
    """Compress the stream when zero-cache offers it (permessage-deflate)."""
    jwt: JwtSettings = field(default_factory=JwtSettings)
    """JWTs as another way in than the tokens of credentials."""
    root_path: str = ""
    """The path that the project lives under, with a slash in front and none behind; empty for the whole host."""
    admin: bool = True
    """Serve admin and its API. Without them there are the stream and what machines ask for."""
    requests_per_address: int = 1200
    """HTTP requests a minute of one address, and as many for health. 0, here and below: no limit."""
    logins_per_address: int = 20
    """Log-ins a minute that one address may try, whoever succeeds."""
    logins_per_user: int = 10
    """Log-ins a minute that may be tried with one user name, from wherever."""
    connections_per_address: int = 256
    """Open connections of one address, unless it is a proxy's."""
    handshakes_per_address: int = 600
    """WebSocket handshakes a minute of one address, before anybody knows who it is."""
    handshakes_per_client: int = 300
    """WebSocket handshakes a minute of one client."""
    streams_per_client: int = 20
    """Open streams of one client, over all processes that share a Redis."""
    snapshots_per_app: int = 4
    """Snapshots of one app at a time, over all processes that share a Redis. Others wait."""
    snapshot_min_bytes_per_second: int = 65_536
    """At what rate, before compression and over the whole of it, zero-cache has to read a snapshot."""
    max_upstream_bytes: int = 65_536
    """The longest message that zero-cache may send, after decompression."""
    upstream_messages_per_second: int = 2_000
    """How many messages of one connection are read a second. The rest is read later."""
    handshake_seconds: float = 10.0
    """How long a request's header, the beginning of its body, and a WebSocket's handshake may take."""
    proxy_headers: bool = False
    """Believe `X-Forwarded-For`: all connections come through a proxy that sets it."""
    audit_days: int = 90
    """For how many days the changes of clients and refused connections are kept. 0: for ever."""


def load_settings() -> ChangeSourceSettings:
    """From Django's settings: `CHANGESOURCE_SOURCES`, `REDIS_URL`, and the dict `CHANGESOURCE` for the rest. What a project
    does not set has its default."""
    values = getattr(settings, "CHANGESOURCE", {})
    return ChangeSourceSettings(
        sources=getattr(settings, "CHANGESOURCE_SOURCES", {}),
        redis_url=getattr(settings, "REDIS_URL", ""),
        **{**values, "jwt": JwtSettings(**values.get("jwt", {}))},
    )
