"""The request with which zero-cache opens the stream: query parameters and credentials.

`GET /changes/v0/stream?token=…&appID=zero&shardNum=0[&publications=a&publications=b]` for a
snapshot; on resume also `&lastWatermark=W&replicaVersion=R` (Zero:
change-source/custom/change-source.ts).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

from changesource.errors import InvalidRequest, InvalidWatermark
from changesource.protocol.watermarks import Position

MAX_QUERY_BYTES = 8192
MAX_FIELDS = 100
MAX_TOKEN_LENGTH = 8192
MAX_AUTHORIZATION_LENGTH = 2 * MAX_TOKEN_LENGTH
"""Base64 and a user name make the header longer than the token in it."""
MAX_SHARD_NUM = 2**31 - 1
_APP_ID = re.compile(r"[a-z0-9_]{1,63}")
_SHARD_NUM = re.compile(r"0|[1-9][0-9]{0,9}")

PUBLICATION_PATTERN = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_-]*")
"""Zero keeps names that begin with an underscore for itself (change-source/pg/schema/shard.ts,
`validatePublications`). In ZERO_APP_PUBLICATIONS commas separate the names, and spaces around a
comma belong to the names."""

MAX_PUBLICATION_LENGTH = 63
"""PostgreSQL's limit, which publications have in Zero's own change source."""

MAX_PUBLICATIONS = 64
"""How many publications an app, and so a request, may have."""


@dataclass(frozen=True, slots=True)
class Resume:
    """The state of a replica: it has everything up to `last_watermark`, and began with the snapshot
    `replica_version`."""

    last_watermark: Position
    replica_version: Position


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The request of one connection; `resume` is None if zero-cache asks for a snapshot."""

    app_id: str
    shard_num: int
    publications: tuple[str, ...]
    resume: Resume | None


def parse_stream_request(query_string: bytes) -> StreamRequest:
    """Parses the query of the URL. Raises `InvalidRequest`, which names the parameter and never
    repeats the token."""
    fields = _parse_query(query_string)
    app_id = _single(fields, "appID")
    if app_id is None or not _APP_ID.fullmatch(app_id):
        raise InvalidRequest("appID must be lower case letters, digits and underscores; set ZERO_APP_ID.")
    shard_num = _single(fields, "shardNum")
    if shard_num is None or not _SHARD_NUM.fullmatch(shard_num) or int(shard_num) > MAX_SHARD_NUM:
        raise InvalidRequest("shardNum must be a whole number from 0; set ZERO_SHARD_NUM.")
    return StreamRequest(
        app_id=app_id,
        shard_num=int(shard_num),
        publications=_parse_publications(fields),
        resume=_parse_resume(fields),
    )


def find_token(query_string: bytes, authorization: str | None) -> str | None:
    """The client's token: `?token=`, the password of Basic credentials, or a Bearer token. None if
    there is none.

    zero-cache turns the user info of its upstream URL into Basic credentials, which keeps the token
    out of the URL that it requests. A user name without a password counts as the token. The header
    takes precedence over the query.
    """
    if authorization is not None and (token := _token_of_header(authorization)) is not None:
        return token
    try:
        return _single(_parse_query(query_string), "token")
    except InvalidRequest:
        return None


def _parse_publications(fields: dict[str, list[str]]) -> tuple[str, ...]:
    names = fields.get("publications", [])
    if len(names) > MAX_PUBLICATIONS:
        raise InvalidRequest(
            f"publications has {len(names)} names, and at most {MAX_PUBLICATIONS} are allowed; set ZERO_APP_PUBLICATIONS."
        )
    for name in names:
        if len(name) > MAX_PUBLICATION_LENGTH or not PUBLICATION_PATTERN.fullmatch(name):
            raise InvalidRequest(
                "publications must be names of letters, digits, hyphens and underscores, "
                f"at most {MAX_PUBLICATION_LENGTH} long, no leading underscore, "
                "separated by commas without spaces; set ZERO_APP_PUBLICATIONS."
            )
    return tuple(names)


def _parse_resume(fields: dict[str, list[str]]) -> Resume | None:
    last_watermark = _single(fields, "lastWatermark")
    replica_version = _single(fields, "replicaVersion")
    if last_watermark is None and replica_version is None:
        return None
    if last_watermark is None or replica_version is None:
        raise InvalidRequest("lastWatermark and replicaVersion go together: give both or neither.")
    try:
        resume = Resume(Position.from_watermark(last_watermark), Position.from_watermark(replica_version))
    except InvalidWatermark as error:
        raise InvalidRequest(f"lastWatermark or replicaVersion: {error.args[0]}") from error
    if resume.last_watermark < resume.replica_version:
        raise InvalidRequest("lastWatermark is before replicaVersion, but no replica is older than its snapshot.")
    return resume


def _parse_query(query_string: bytes) -> dict[str, list[str]]:
    if len(query_string) > MAX_QUERY_BYTES:
        raise InvalidRequest(f"The query is longer than {MAX_QUERY_BYTES} bytes.")
    try:
        return parse_qs(
            query_string.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            encoding="utf-8",
            errors="strict",
        )
    except ValueError as error:
        raise InvalidRequest("The query is not URL-encoded UTF-8.") from error


def _single(fields: dict[str, list[str]], name: str) -> str | None:
    values = fields.get(name)
    if values is None:
        return None
    if len(values) > 1:
        raise InvalidRequest(f"{name} is given {len(values)} times; give it once.")
    return values[0]


def _token_of_header(authorization: str) -> str | None:
    scheme, _, credentials = authorization[: MAX_AUTHORIZATION_LENGTH + 1].partition(" ")
    if len(authorization) > MAX_AUTHORIZATION_LENGTH:
        return None
    match scheme.lower():
        case "basic":
            return _token_of_basic(credentials)
        case "bearer":
            return credentials.strip() or None
        case _:
            return None


def _token_of_basic(encoded: str) -> str | None:
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except ValueError:  # not base64, or not UTF-8
        return None
    # Split at the last colon: a token has none, but the name of a client may.
    before, _, after = decoded.rpartition(":")
    return unquote(after or before) or None
