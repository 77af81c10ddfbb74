"""Units of time: adding them to a date, counting them between two dates, and truncating a date to them, as MongoDB does.

MongoDB: src/mongo/db/query/datetime/date_time_support.cpp. Dates are milliseconds since the epoch. A day and any longer unit
is a step on the calendar of the time zone; an hour and any shorter unit has a fixed length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from changesource.mql.bson_types import MAX_LONG, MIN_LONG
from changesource.mql.errors import MqlError
from changesource.mql.expressions.gregorian import (
    MILLISECONDS_PER_DAY,
    Moment,
    date_of,
    days_in_month,
    days_of,
    iso_day_of_week,
    moment_of,
)
from changesource.mql.expressions.time_zones import TimeZone

MONTHS: Final[Mapping[str, int]] = {"month": 1, "quarter": 3, "year": 12}
DAYS: Final[Mapping[str, int]] = {"day": 1, "week": 7}
MILLISECONDS: Final[Mapping[str, int]] = {"millisecond": 1, "second": 1000, "minute": 60_000, "hour": 3_600_000}
UNITS: Final = frozenset({*MONTHS, *DAYS, *MILLISECONDS})

SUNDAY: Final = 7
DAYS_OF_WEEK: Final[Mapping[str, int]] = {
    name[:length]: number
    for number, name in enumerate(
        ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"), start=1
    )
    for length in (3, len(name))
}
"""The ISO numbers of the names that MongoDB accepts, in lower case."""

MAX_CALENDAR_BINS: Final = 100_000_000_000
"""MongoDB: "dateTrunc unsupported binSize value"."""

_REFERENCE_DAYS = days_of(2000, 1, 1)
_REFERENCE_MILLISECONDS = _REFERENCE_DAYS * MILLISECONDS_PER_DAY


class Unit(NamedTuple):
    """A unit of time. `week_start` is the ISO number of the day on which weeks begin; other units ignore it."""

    name: str
    week_start: int = SUNDAY


def add(date: int, unit: str, amount: int, zone: TimeZone) -> int:
    """The date `amount` units later. Where a month lacks the day, its last day is taken. Raises `MqlError`."""
    if unit in MILLISECONDS:
        return within_dates(date + amount * MILLISECONDS[unit])
    local = zone.local(date)
    days, time_of_day = divmod(local, MILLISECONDS_PER_DAY)
    days = days + amount * DAYS[unit] if unit in DAYS else _add_months(days, amount * MONTHS[unit])
    return within_dates(zone.instant(days * MILLISECONDS_PER_DAY + time_of_day))


def _add_months(days: int, months: int) -> int:
    year, month, day = date_of(days)
    years, month_index = divmod(month - 1 + months, 12)
    year, month = year + years, month_index + 1
    return days_of(year, month, min(day, days_in_month(year, month)))


def difference(start: int, end: int, unit: Unit, zone: TimeZone) -> int:
    """How many times a new unit begins after `start` and up to `end`; negative when `end` is the earlier one.

    Raises `MqlError` for more milliseconds than a long can hold.
    """
    if unit.name == "millisecond":
        return within_dates(end - start)
    start_offset, end_offset = zone.offset_at(start), zone.offset_at(end)
    start_local, end_local = start + start_offset * 1000, end + end_offset * 1000
    if unit.name in MILLISECONDS:
        length = MILLISECONDS[unit.name]
        # Units end when the local clock says so. A change of its offset is subtracted in whole units.
        return end_local // length - start_local // length + _divide((start_offset - end_offset) * 1000, length)
    return _calendar_difference(moment_of(start_local), moment_of(end_local), unit)


def _calendar_difference(start: Moment, end: Moment, unit: Unit) -> int:
    if unit.name == "day":
        return end.days - start.days
    if unit.name == "week":
        return _weeks(end.days, unit.week_start) - _weeks(start.days, unit.week_start)
    length = MONTHS[unit.name]
    return _months(end) // length - _months(start) // length


def _weeks(days: int, week_start: int) -> int:
    """The number of a week, counted continuously."""
    return (days - (iso_day_of_week(days) - week_start) % 7) // 7


def _months(moment: Moment) -> int:
    return moment.year * 12 + moment.month - 1


def truncate(date: int, unit: Unit, bin_size: int, zone: TimeZone) -> int:
    """The start of the bin of `bin_size` units that contains the date. One of the bins starts with the year 2000 in the time
    zone or, if the unit is a week, with the first week that begins in that year.

    Raises `MqlError`.
    """
    if unit.name in MILLISECONDS:
        reference = _REFERENCE_MILLISECONDS - zone.offset_at(_REFERENCE_MILLISECONDS) * 1000
        return within_dates(date - (date - reference) % within_dates(bin_size * MILLISECONDS[unit.name]))
    if bin_size > MAX_CALENDAR_BINS:
        raise MqlError(f"$dateTrunc takes a binSize of at most {MAX_CALENDAR_BINS} {unit.name}s.")
    moment = moment_of(zone.local(date))
    if unit.name in DAYS:
        reference_days = _REFERENCE_DAYS
        if unit.name == "week":
            reference_days += (unit.week_start - iso_day_of_week(_REFERENCE_DAYS)) % 7
        days = moment.days - (moment.days - reference_days) % (bin_size * DAYS[unit.name])
    else:
        months = (moment.year - 2000) * 12 + moment.month - 1
        months -= months % (bin_size * MONTHS[unit.name])
        days = days_of(2000 + months // 12, months % 12 + 1, 1)
    return within_dates(zone.instant(days * MILLISECONDS_PER_DAY))


def within_dates(milliseconds: int) -> int:
    """`milliseconds`, if a BSON date or a long can hold it. Raises `MqlError`."""
    if MIN_LONG <= milliseconds <= MAX_LONG:
        return milliseconds
    raise MqlError("The date, or the time between dates, is beyond what BSON holds (64 bits of milliseconds).")


def _divide(dividend: int, divisor: int) -> int:
    """Division that rounds towards zero."""
    return dividend // divisor if dividend >= 0 else -(-dividend // divisor)
