"""changesource/protocol/closing.py"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.protocol import closing
from changesource.protocol.closing import MAX_REASON_BYTES, Closing


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_a_reason_fits_a_close_frame(reason: str) -> None:
    """At most 123 bytes, cut between characters."""
    short = Closing(4400, reason).reason
    assert len(short.encode()) <= MAX_REASON_BYTES
    assert reason.startswith(short)


@pytest.mark.parametrize(
    "refused",
    [
        closing.not_a_websocket(1002),
        closing.not_a_websocket(1007),
        closing.message_too_long(65_536),
        closing.revoked(),
        closing.not_allowed(),
        closing.too_many_handshakes(300),
        closing.too_many_streams(20),
    ],
)
def test_a_refusal_is_counted_under_its_reason(refused: Closing) -> None:
    """Which says nothing of the request, and is not cut."""
    assert refused.refusal == refused.reason


@pytest.mark.parametrize(
    ("one", "another"),
    [
        (closing.invalid_request("one"), closing.invalid_request("another")),
        (closing.invalid_message("one"), closing.invalid_message("another")),
        (closing.shard_not_allowed(1), closing.shard_not_allowed(2)),
    ],
)
def test_a_refusal_is_counted_without_anything_of_the_request(one: Closing, another: Closing) -> None:
    """Where the reason depends on the request, all requests are counted under one text."""
    assert one.reason != another.reason
    assert one.refusal == another.refusal != ""


@pytest.mark.parametrize(
    "end",
    [
        closing.snapshot_sent(),
        closing.internal_error(),
        closing.going_away(),
        closing.stalled(120),
        closing.snapshot_too_slow(65_536),
        closing.source_unavailable(),
    ],
)
def test_other_ends_are_not_counted_as_refusals(end: Closing) -> None:
    """The client did nothing that was refused."""
    assert end.refusal == ""
