"""The environment variables with which a zero-cache uses an app."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

STREAM_PATH = "/changes/v0/stream"
QUERY_PATH = "/api/zero/query"

TOKEN = "TOKEN"  # noqa: S105 (what stands in the place of one)
"""What stands in the place of the token, which only its client has."""


class InvalidUrl(ValueError):
    """What is given as the URL of this service is none. The message says how one looks, and repeats nothing of it."""


def zero_environment(app_id: str, url: str) -> Iterator[str]:
    """Lines `NAME=value` and comments. `url` is that of this service, with `ROOT_PATH` if there is one, as zero-cache reaches
    it. There is no secret in them.

    Raises `InvalidUrl`.
    """
    address = _address(url)
    scheme = "wss" if url.lower().startswith("https:") else "ws"
    yield f"# zero-cache 1.9.0 for the app {app_id}. In the place of {TOKEN} comes the token of its client, which"
    yield "# create_client and issue_credential print."
    yield f"ZERO_APP_ID={app_id}"
    yield "ZERO_UPSTREAM_TYPE=custom"
    yield f"ZERO_UPSTREAM_DB={scheme}://zero-cache:{TOKEN}@{address}{STREAM_PATH}"
    yield f"ZERO_QUERY_URL={url.rstrip('/')}{QUERY_PATH}"
    yield f"ZERO_QUERY_API_KEY={TOKEN}"
    yield ""
    yield "# What you choose yourself. These are required; ZERO_CVR_DB and ZERO_CHANGE_DB may name one database."
    yield "# ZERO_CVR_DB=postgresql://…"
    yield "# ZERO_CHANGE_DB=postgresql://…"
    yield "# ZERO_REPLICA_FILE=/var/lib/zero/replica.db"
    yield "# ZERO_ADMIN_PASSWORD=…"
    yield "# If users are known by a session of Django (docs/security.md, Users of named queries):"
    yield "# ZERO_QUERY_FORWARD_COOKIES=true"
    yield "# If users are known by tokens: zero-cache takes them only if it has a URL for mutations as well."
    yield "# ZERO_MUTATE_URL=…"
    yield "# If several replicas of the app run, another number for each:"
    yield "# ZERO_SHARD_NUM=0"
    yield "# If it is to have some groups of tables only (docs/mapping.md, Publications), their names, separated by commas:"
    yield "# ZERO_APP_PUBLICATIONS=…"


def _address(url: str) -> str:
    """Host, port and path of `url`, without a slash at the end."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.username is not None or parts.query or parts.fragment or set(url) & set(" '\"$`\\\n"):
        raise InvalidUrl(
            "The URL of this service looks like https://zero-sources.example.com, or ends with its ROOT_PATH."
        )
    return f"{parts.netloc}{parts.path.rstrip('/')}"
