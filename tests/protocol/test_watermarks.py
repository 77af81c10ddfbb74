"""changesource/protocol/watermarks.py"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidWatermark
from changesource.protocol.watermarks import Position, decode_lexi_version, encode_lexi_version

numbers = st.integers(min_value=0, max_value=2**100)
positions = st.builds(
    Position, st.integers(min_value=1, max_value=2**64 - 1), st.integers(min_value=0, max_value=2**16 - 1)
)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "00"), (35, "0z"), (36, "110"), (2**64, "c3w5e11264sgsg"), (36**36 - 1, "z" * 37)]
)
def test_a_lexi_version_is_a_number_in_base_36_after_its_length(number: int, text: str) -> None:
    """The examples in Zero's own documentation, and the largest one."""
    assert encode_lexi_version(number) == text
    assert decode_lexi_version(text) == number


@given(numbers, numbers)
def test_lexi_versions_sort_like_their_numbers(one: int, other: int) -> None:
    """zero-cache compares watermarks as strings."""
    assert (one < other) == (encode_lexi_version(one) < encode_lexi_version(other))


@given(numbers)
def test_decoding_undoes_encoding(number: int) -> None:
    """For any number."""
    assert decode_lexi_version(encode_lexi_version(number)) == number


@given(st.text(max_size=45))
def test_any_text_is_the_lexi_version_of_its_number_or_invalid(text: str) -> None:
    """Each number has only one."""
    try:
        number = decode_lexi_version(text)
    except InvalidWatermark:
        return
    assert encode_lexi_version(number) == text


@pytest.mark.parametrize("text", ["", "0", "000", "1a", "100", "0A", "0a ", "0-", "z" * 38, "٠٠", "1०0"])
def test_near_misses_are_refused(text: str) -> None:
    """Wrong length, leading zero, upper case, other digits."""
    with pytest.raises(InvalidWatermark):
        decode_lexi_version(text)


@given(positions)
def test_a_position_survives_the_wire(position: Position) -> None:
    """Its watermark holds all of it."""
    assert Position.from_watermark(position.watermark) == position


@pytest.mark.parametrize("number", [0, 2**80])
def test_numbers_beyond_all_positions_are_refused(number: int) -> None:
    """0 is Zero's own first version, and a position has 80 bits."""
    with pytest.raises(InvalidWatermark):
        Position.from_watermark(encode_lexi_version(number))


@given(positions, st.integers(min_value=1, max_value=2**64 - 1))
def test_the_next_position_is_always_greater(last: Position, cluster_time: int) -> None:
    """Positions never go back or repeat, whatever the server's clock does, and follow the clock
    where they can."""
    following = last.next_for(cluster_time)
    assert following > last
    assert following.cluster_time >= cluster_time or following.number == last.number + 1
    if cluster_time > last.cluster_time:
        assert following == Position(cluster_time)


@given(positions, positions)
def test_positions_watermarks_and_numbers_have_one_order(one: Position, other: Position) -> None:
    """Comparing one kind compares all."""
    assert (one < other) == (one.number < other.number) == (one.watermark < other.watermark)
