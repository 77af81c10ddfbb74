"""Messages from zero-cache."""

from __future__ import annotations

import json

from changesource.errors import InvalidUpstreamMessage
from changesource.protocol.closing import MAX_REASON_BYTES, invalid_message
from changesource.protocol.upstream import parse_upstream
from tests.fuzzing.bounds import in_time


def check(data: bytes) -> None:
    """A message is an acknowledgement, or ignored, or refused with a reason that can be sent; as text as it is as bytes.
    An acknowledgement that is written again is the same."""
    with in_time():
        try:
            acknowledged = parse_upstream(data)
        except InvalidUpstreamMessage as error:
            assert len(invalid_message(str(error)).reason.encode()) <= MAX_REASON_BYTES
            return
    assert parse_upstream(data.decode()) == acknowledged
    if acknowledged is not None:
        again = json.dumps(["status", {}, {"watermark": acknowledged.position.watermark}])
        assert parse_upstream(again) == acknowledged
