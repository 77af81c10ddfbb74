"""Typed settings of the change source, read in one place. Each comes from the environment variable
of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.conf import settings

JWT_ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
USER_AUTHENTICATION = (
    "changesource.authentication.callers.jwt_caller",
    "changesource.authentication.callers.session_caller",
)
DEFAULT_SOURCE = "default"


def source_variable(source: str) -> str:
    """The environment variable that holds the URI of `source`."""
    return "MONGODB_URI" if source == DEFAULT_SOURCE else f"MONGODB_URI_{source.upper()}"


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """Who signs JWTs, and what their claims mean: JWTs with which clients open streams, or those of
    the users of named queries. Without keys, no JWT is accepted."""

    prefix: str = "JWT"
    """What the names of these settings begin with: `JWT` for clients, `USER_JWT` for users."""
    secret: str = field(default="", repr=False)
    """The secret for HS256, which the issuer has as well: 32 bytes or more."""
    keys: str = field(default="", repr=False)
    """Public keys in PEM, or a JWK set in JSON."""
    keys_file: str = ""
    """The same in a file."""
    jwks_url: str = field(default="", repr=False)
    """The URL at which the issuer publishes its keys: https, or http on this machine."""
    algorithms: tuple[str, ...] = JWT_ALGORITHMS
    """The algorithms that are accepted, each with keys of its own kind only."""
    audience: str = ""
    """What `aud` has to be."""
    issuer: str = ""
    """What `iss` has to be."""
    client_claim: str = "sub"
    """The claim that holds the client's name. A user's id is always in `sub`."""
    attributes: tuple[str, ...] = ()
    """Pairs `<attribute>=<claim>`: the claims that become attributes of the client, for its row
    filters."""

    @property
    def is_on(self) -> bool:
        return bool(self.secret or self.keys or self.keys_file or self.jwks_url)


@dataclass(frozen=True, slots=True)
class ChangeSourceSettings:
    """All settings. Durations are in seconds."""

    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Source name → MongoDB URI."""
    redis_url: str = field(default="", repr=False)
    """If empty, the log is in the memory of `manage.py serve`, which watches as well."""
    heartbeat_seconds: float = 10.0
    """How often a marker is written, which keeps the position of a quiet source fresh. 0: never."""
    lease_seconds: float = 5.0
    """How long a silent watcher still counts as the leader."""
    quiet_commit_seconds: float = 60.0
    """After how long without a commit zero-cache gets an empty one, which keeps its position
    fresh."""
    stall_seconds: float = 120.0
    """How long zero-cache may read or acknowledge nothing before its connection is dropped."""
    snapshot_plain_inserts: bool = False
    """Send one row of a snapshot per message instead of many."""
    deflate: bool = True
    """Compress the stream when zero-cache offers it (permessage-deflate)."""
    jwt: JwtSettings = field(default_factory=JwtSettings)
    """JWTs, with which clients may connect instead of the tokens of credentials."""
    user_jwt: JwtSettings = field(default_factory=lambda: JwtSettings(prefix="USER_JWT"))
    """JWTs, by which users of named queries are known. They open no stream."""
    user_authentication: tuple[str, ...] = USER_AUTHENTICATION
    """Dotted paths of what tells who the user behind a request is, in the order in which they are
    asked: functions `(request) -> Caller | None`, or REST framework's authentication classes."""
    root_path: str = ""
    """The path that the project lives under, with a leading slash and no trailing one; empty for
    the whole host."""
    admin: bool = True
    """Serve admin and its API. Without them there are only the stream and the paths for
    machines."""
    requests_per_address: int = 1200
    """HTTP requests a minute from one address, and as many health checks. 0, here and below: no
    limit."""
    logins_per_address: int = 20
    """Log-ins a minute that one address may try, including those that succeed."""
    logins_per_user: int = 10
    """Log-ins a minute that may be tried with one user name, from all addresses."""
    connections_per_address: int = 2048
    """Open connections from one address, unless it is a proxy's."""
    handshakes_per_address: int = 600
    """WebSocket handshakes a minute from one address, counted before authentication."""
    handshakes_per_client: int = 300
    """WebSocket handshakes a minute by one client."""
    streams_per_client: int = 20
    """Open streams of one client, over all processes that share a Redis."""
    snapshots_per_app: int = 4
    """Snapshots of one app at a time, over all processes that share a Redis. Others wait."""
    snapshot_min_bytes_per_second: int = 65_536
    """The average rate, before compression, at which zero-cache has to read a snapshot."""
    max_upstream_bytes: int = 65_536
    """The longest message that zero-cache may send, after decompression."""
    upstream_messages_per_second: int = 2_000
    """How many messages of one connection are read in a second. The rest is read later."""
    handshake_seconds: float = 10.0
    """How long the header of a request, the beginning of its body, and a WebSocket handshake may
    take."""
    proxy_headers: bool = False
    """Trust `X-Forwarded-For`: all connections come through a proxy that sets it."""
    audit_days: int = 90
    """For how many days changes to clients and refused connections are kept. 0: forever."""


def load_settings() -> ChangeSourceSettings:
    """The settings from Django's: `CHANGESOURCE_SOURCES`, `REDIS_URL`, and the dict `CHANGESOURCE`
    for the rest. A setting that the project does not set has its default."""
    values = getattr(settings, "CHANGESOURCE", {})
    jwts = {
        "jwt": JwtSettings(**values.get("jwt", {})),
        "user_jwt": JwtSettings(**values.get("user_jwt", {}), prefix="USER_JWT"),
    }
    return ChangeSourceSettings(
        sources=getattr(settings, "CHANGESOURCE_SOURCES", {}),
        redis_url=getattr(settings, "REDIS_URL", ""),
        **{**values, **jwts},
    )
