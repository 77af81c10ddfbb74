"""changesource/protocol/upstream.py and closing.py"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidUpstreamMessage
from changesource.protocol.closing import MAX_REASON_BYTES, Closing
from changesource.protocol.upstream import MAX_MESSAGE_BYTES, Acknowledgement, parse_upstream
from changesource.protocol.watermarks import Position

POSITION = Position(5 << 32, 1)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("payload", [{"tag": "commit"}, {"tag": "commit", "commitTimeMs": 1.5}, {"ack": True}])
def test_an_acknowledgement(payload: dict[str, object]) -> None:
    """Whatever its payload, the watermark is what counts."""
    message = json.dumps(["status", payload, {"watermark": POSITION.watermark}])
    assert parse_upstream(message) == Acknowledgement(POSITION)
    assert parse_upstream(message.encode()) == Acknowledgement(POSITION)


@pytest.mark.parametrize("message", ['["hello"]', '["backfill",{"a":[1]},{}]'])
def test_what_a_newer_zero_cache_might_say_is_ignored(message: str) -> None:
    """A message in the protocol's form with another tag is None."""
    assert parse_upstream(message) is None


@pytest.mark.parametrize(
    "message",
    [
        "",
        "nonsense",
        "{}",
        "[]",
        "[1]",
        "null",
        '["status"]',
        '["status",{}]',
        '["status",{},{}]',
        '["status",{},{"watermark":5}]',
        '["status",{},{"watermark":"ZZ"}]',
        '["status",{},{"watermark":"00"}]',
        '["status",{},[],{}]',
        '["status",{},{"watermark":"0a"},1]',
        "[" * 5_000,
        '["x",' + '"' + "a" * MAX_MESSAGE_BYTES + '"]',
        b"\xff\xfe",
        "\ud800",
    ],
)
def test_what_is_not_in_the_protocol_is_refused(message: str | bytes) -> None:
    """`InvalidUpstreamMessage`, for each of its own reason."""
    with pytest.raises(InvalidUpstreamMessage):
        parse_upstream(message)


@given(st.lists(json_values, max_size=4) | json_values)
def test_nonsense_is_refused_or_ignored(value: object) -> None:
    """Any JSON: an acknowledgement, None, or `InvalidUpstreamMessage`."""
    try:
        parse_upstream(json.dumps(value))
    except InvalidUpstreamMessage:
        return


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_a_reason_fits_a_close_frame(reason: str) -> None:
    """At most 123 bytes, cut between characters."""
    short = Closing(4400, reason).reason
    assert len(short.encode()) <= MAX_REASON_BYTES
    assert reason.startswith(short)
