import pytest

from changesource.limits.bodies import BODY_SECONDS, LEAST_BYTES_PER_SECOND, MAX_BODY_BYTES, Body, is_too_large


def test_the_largest_body_is_taken_and_no_larger_one() -> None:
    """However it is divided."""
    body = Body(10, 0)
    assert body.take(1)
    assert body.take(MAX_BODY_BYTES - 1)
    assert not body.take(1)


def test_each_byte_extends_the_deadline() -> None:
    """By as long as it may take at the minimum rate."""
    body = Body(10, 100)
    assert body.deadline == 110
    body.take(5 * LEAST_BYTES_PER_SECOND)
    assert body.deadline == 115


def test_a_byte_a_second_is_too_slow() -> None:
    """Its deadline passes."""
    body = Body(10, 0)
    for _ in range(10):
        body.take(1)
    assert body.deadline is not None
    assert body.deadline < 10.1


def test_there_is_a_last_deadline() -> None:
    """Even the largest body has one."""
    body = Body(10, 0)
    body.take(MAX_BODY_BYTES)
    assert body.deadline == 10 + BODY_SECONDS


def test_zero_is_no_limit_of_time() -> None:
    """There is no deadline."""
    assert Body(0, 0).deadline is None


@pytest.mark.parametrize(
    ("length", "is_large"),
    [
        (b"0", False),
        (b"3145728", False),
        (b"3145729", True),
        (b"9" * 5_000, True),
        (b"-1", False),
        (b"x", False),
        (b"", False),
    ],
)
def test_an_announced_length_is_checked(length: bytes, is_large: bool) -> None:
    """A value that is not a number is left to the server."""
    assert is_too_large(length) == is_large
