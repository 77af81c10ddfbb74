"""changesource/protocol/upstream.py"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidUpstreamMessage
from changesource.protocol.upstream import MAX_MESSAGE_BYTES, Acknowledgement, parse_upstream
from changesource.protocol.watermarks import Position

POSITION = Position(5 << 32, 1)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("payload", [{"tag": "commit"}, {"tag": "commit", "commitTimeMs": 1.5}, {"ack": True}])
def test_an_acknowledgement_is_its_watermark(payload: dict[str, object]) -> None:
    """Whatever its payload."""
    message = json.dumps(["status", payload, {"watermark": POSITION.watermark}])
    assert parse_upstream(message) == Acknowledgement(POSITION)
    assert parse_upstream(message.encode()) == Acknowledgement(POSITION)


@pytest.mark.parametrize("message", ['["hello"]', '["backfill",{"a":[1]},{}]'])
def test_a_message_with_an_unknown_tag_is_ignored(message: str) -> None:
    """A newer zero-cache may send one."""
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
def test_a_malformed_message_is_refused(message: str | bytes) -> None:
    """With `InvalidUpstreamMessage`, for a reason of its own."""
    with pytest.raises(InvalidUpstreamMessage):
        parse_upstream(message)


@given(st.lists(json_values, max_size=4) | json_values)
def test_any_json_is_an_acknowledgement_or_ignored_or_refused(value: object) -> None:
    """No other error is raised."""
    try:
        parse_upstream(json.dumps(value))
    except InvalidUpstreamMessage:
        return
