"""Positions in the change stream, and their form on the wire.

A watermark is Zero's LexiVersion of `cluster_time << 16 | ordinal`: a base-36 number with its
length in front, so that watermarks sort as strings (Zero: zero-cache/src/types/lexi-version.ts). No
table is needed to look one up, so processes are stateless.
"""

from __future__ import annotations

from dataclasses import dataclass

from changesource.errors import InvalidWatermark

ORDINAL_BITS = 16
CLUSTER_TIME_BITS = 64
_MAX_NUMBER = (1 << (CLUSTER_TIME_BITS + ORDINAL_BITS)) - 1
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A point in the change stream. `cluster_time` is MongoDB's Timestamp as `seconds << 32 |
    increment`.

    `ordinal` only keeps the watermarks of one cluster time distinct: two readers may divide the
    events of one cluster time differently. A stream that resumes gets everything from
    `cluster_time` on again, inclusive.
    """

    cluster_time: int
    ordinal: int = 0

    @property
    def number(self) -> int:
        return self.cluster_time << ORDINAL_BITS | self.ordinal

    @property
    def watermark(self) -> str:
        return encode_lexi_version(self.number)

    @property
    def seconds(self) -> int:
        """The seconds since the epoch, by the source's clock."""
        return self.cluster_time >> 32

    def next_for(self, cluster_time: int) -> Position:
        """The position of a later commit at `cluster_time`, always after this one."""
        return max(Position(cluster_time), Position.from_number(self.number + 1))

    @classmethod
    def from_number(cls, number: int) -> Position:
        return cls(number >> ORDINAL_BITS, number & ((1 << ORDINAL_BITS) - 1))

    @classmethod
    def from_watermark(cls, watermark: str) -> Position:
        """Raises `InvalidWatermark`, which repeats nothing of the text, for anything that
        `watermark` never returns."""
        number = decode_lexi_version(watermark)
        if not 0 < number <= _MAX_NUMBER:
            raise InvalidWatermark("The watermark is not a position in a change stream.")
        return cls.from_number(number)


def encode_lexi_version(number: int) -> str:
    """`number` (not negative, at most 36 digits in base 36) as a LexiVersion: 0 → "00", 36 →
    "110"."""
    if number < 0:
        raise ValueError(f"a LexiVersion is not negative: {number}")
    digits = []
    rest = number
    while rest:
        rest, digit = divmod(rest, 36)
        digits.append(_DIGITS[digit])
    text = "".join(reversed(digits)) or "0"
    return _DIGITS[len(text) - 1] + text


def decode_lexi_version(text: str) -> int:
    """The number of a LexiVersion. Raises `InvalidWatermark` for anything that
    `encode_lexi_version` never returns."""
    digits = text[1:]
    if (
        not 2 <= len(text) <= 37
        or _DIGITS.find(text[0]) != len(digits) - 1
        or any(digit not in _DIGITS for digit in digits)
        or (digits[0] == "0" and len(digits) > 1)
    ):
        raise InvalidWatermark("The watermark is not a LexiVersion.")
    return int(digits, 36)
