"""Dates as text: the formats of $dateToString, compiled once.

MongoDB: manual/reference/operator/aggregation/dateToString and src/mongo/db/query/datetime/date_time_support.h.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from changesource.mql.errors import MqlError
from changesource.mql.expressions.gregorian import MONTH_NAMES, Moment, moment_of
from changesource.mql.expressions.time_zones import UTC_ZONE, TimeZone

FormatDate = Callable[[int, TimeZone], str]
"""Milliseconds since the epoch, as text. Raises `MqlError` for a year without four digits."""

Part = Callable[[Moment, int], str]
"""Takes a moment, and how many seconds its clock is ahead of UTC."""


def _year_text(year: int) -> str:
    if 0 <= year <= 9999:
        return f"{year:04d}"
    raise MqlError("A date before the year 0 or after 9999 has no text. Use $toLong for its milliseconds.")


def _offset_text(offset: int) -> str:
    minutes = abs(offset) // 60
    return f"{'-' if offset < 0 else '+'}{minutes // 60:02d}{minutes % 60:02d}"


def _offset_minutes(offset: int) -> str:
    return str(offset // 60 if offset >= 0 else -(-offset // 60))


PARTS: Final[Mapping[str, Part]] = {
    "%b": lambda moment, _: MONTH_NAMES[moment.month - 1][:3],
    "%B": lambda moment, _: MONTH_NAMES[moment.month - 1],
    "%d": lambda moment, _: f"{moment.day:02d}",
    "%G": lambda moment, _: _year_text(moment.iso_week_year),
    "%H": lambda moment, _: f"{moment.hour:02d}",
    "%j": lambda moment, _: f"{moment.day_of_year:03d}",
    "%L": lambda moment, _: f"{moment.millisecond:03d}",
    "%m": lambda moment, _: f"{moment.month:02d}",
    "%M": lambda moment, _: f"{moment.minute:02d}",
    "%S": lambda moment, _: f"{moment.second:02d}",
    "%u": lambda moment, _: str(moment.iso_day_of_week),
    "%U": lambda moment, _: f"{moment.week:02d}",
    "%V": lambda moment, _: f"{moment.iso_week:02d}",
    "%w": lambda moment, _: str(moment.day_of_week),
    "%Y": lambda moment, _: _year_text(moment.year),
    "%z": lambda _, offset: _offset_text(offset),
    "%Z": lambda _, offset: _offset_minutes(offset),
    "%%": lambda _, __: "%",
}


def compile_format(text: str) -> FormatDate:
    """Compiles one of MongoDB's formats. Raises `MqlError` for any other text."""
    parts = [_compile_part(piece) for piece in re.findall(r"%(?s:.)?|[^%]+", text)]

    def format_date(milliseconds: int, zone: TimeZone) -> str:
        offset = zone.offset_at(milliseconds)
        moment = moment_of(milliseconds + offset * 1000)
        return "".join([part(moment, offset) for part in parts])

    return format_date


def _compile_part(piece: str) -> Part:
    if not piece.startswith("%"):
        return lambda _, __: piece
    if piece not in PARTS:
        raise MqlError(f"A format has {piece!r} in it. Take one of {', '.join(PARTS)}.")
    return PARTS[piece]


_IN_UTC = compile_format("%Y-%m-%dT%H:%M:%S.%LZ")
_ELSEWHERE = compile_format("%Y-%m-%dT%H:%M:%S.%L")


def default_format(milliseconds: int, zone: TimeZone) -> str:
    """ISO 8601 with milliseconds, and with a Z only in UTC, as in MongoDB."""
    return (_IN_UTC if zone.is_utc else _ELSEWHERE)(milliseconds, zone)


def iso_text(milliseconds: int) -> str:
    """A date in UTC, as $toString writes it."""
    return _IN_UTC(milliseconds, UTC_ZONE)
