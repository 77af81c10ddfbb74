"""Query strings and Authorization headers. The first line of an input is the header, the rest the query string."""

from __future__ import annotations

from urllib.parse import urlencode

from changesource.errors import InvalidRequest, InvalidWatermark
from changesource.protocol.closing import MAX_REASON_BYTES, invalid_request
from changesource.protocol.requests import MAX_FIELDS, MAX_SHARD_NUM, StreamRequest, find_token, parse_stream_request
from changesource.protocol.watermarks import Position
from tests.fuzzing.bounds import in_time

SECRET = "Zq7-not-for-logs"


def check(data: bytes) -> None:
    """Credentials are a text that is not empty, or none. A request is valid in every part, or refused with a reason that can
    be sent; one that is written again is the same. So is a watermark."""
    header, _, query = data.partition(b"\n")
    with in_time():
        token = find_token(query, header.decode("latin-1") or None)
        assert token is None or isinstance(token, str)
        assert not token or len(token) <= len(data)
        check_request(query)
        check_watermark(header.decode("latin-1"))


def check_request(query: bytes) -> None:
    check_reason(b"token=" + SECRET.encode() + b"&" + query)
    try:
        request = parse_stream_request(query)
    except InvalidRequest as error:
        reason = invalid_request(str(error)).reason
        assert len(reason.encode()) <= MAX_REASON_BYTES
        return
    assert request.app_id.isascii()
    assert 0 < len(request.app_id) <= 63
    assert 0 <= request.shard_num <= MAX_SHARD_NUM
    assert len(request.publications) <= MAX_FIELDS
    assert parse_stream_request(written(request)) == request


def check_reason(query: bytes) -> None:
    """The reason of a refusal does not hold the token."""
    try:
        parse_stream_request(query)
    except InvalidRequest as error:
        assert SECRET not in str(error)


def check_watermark(text: str) -> None:
    try:
        position = Position.from_watermark(text)
    except InvalidWatermark as error:
        assert len(str(error)) < 500
        return
    assert position.watermark == text
    assert position < position.next_for(position.cluster_time)


def written(request: StreamRequest) -> bytes:
    """The query string that zero-cache would send."""
    pairs = [("appID", request.app_id), ("shardNum", str(request.shard_num))]
    pairs += [("publications", name) for name in request.publications]
    if request.resume is not None:
        pairs.append(("lastWatermark", request.resume.last_watermark.watermark))
        pairs.append(("replicaVersion", request.resume.replica_version.watermark))
    return urlencode(pairs).encode()
