"""The proleptic Gregorian calendar for every date of BSON: conversions between days since 1970-01-01 and dates.

Python's `datetime` covers the years 1 to 9999; BSON's dates reach 292 million years either way.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MILLISECONDS_PER_DAY: Final = 86_400_000
DAYS_PER_CYCLE: Final = 146_097
"""A cycle is 400 years, after which leap years and days of the week repeat."""

MONTH_NAMES: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip

_MARCH_1_OF_YEAR_0 = 719_468
"""Days from that day to 1970-01-01. Years are counted from March, so that a leap day is the last day of its year."""


class Moment(NamedTuple):
    """A time on the clock and the calendar of some place. `days` is the date as days since 1970-01-01."""

    days: int
    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    millisecond: int

    @property
    def day_of_year(self) -> int:
        """1 for the first day of January."""
        return self.days - days_of(self.year, 1, 1) + 1

    @property
    def day_of_week(self) -> int:
        """1 for Sunday to 7 for Saturday."""
        return (self.days + 4) % 7 + 1

    @property
    def iso_day_of_week(self) -> int:
        """1 for Monday to 7 for Sunday."""
        return iso_day_of_week(self.days)

    @property
    def week(self) -> int:
        """Weeks begin on Sundays. The days before the first Sunday of a year are in week 0."""
        return (self.day_of_year - self.day_of_week + 7) // 7

    @property
    def iso_week(self) -> int:
        thursday = self._thursday_of_week()
        return (thursday - days_of(date_of(thursday)[0], 1, 1)) // 7 + 1

    @property
    def iso_week_year(self) -> int:
        """The year that the ISO week belongs to: that of its Thursday."""
        return date_of(self._thursday_of_week())[0]

    def _thursday_of_week(self) -> int:
        return self.days - self.iso_day_of_week + 4


def moment_of(milliseconds: int) -> Moment:
    """The moment that is this many milliseconds after 1970-01-01 on the local clock."""
    days, rest = divmod(milliseconds, MILLISECONDS_PER_DAY)
    seconds, millisecond = divmod(rest, 1000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return Moment(days, *date_of(days), hour, minute, second, millisecond)


def days_of(year: int, month: int, day: int) -> int:
    """A date as days since 1970-01-01. `month` is 1 to 12; `day` may lie outside the month and carries over."""
    if month <= 2:
        year, month = year - 1, month + 12
    cycle, year_of_cycle = divmod(year, 400)
    days_before_month = (153 * (month - 3) + 2) // 5
    days_of_cycle = year_of_cycle * 365 + year_of_cycle // 4 - year_of_cycle // 100 + days_before_month + day - 1
    return cycle * DAYS_PER_CYCLE + days_of_cycle - _MARCH_1_OF_YEAR_0


def date_of(days: int) -> tuple[int, int, int]:
    """The year, month and day of a number of days since 1970-01-01."""
    cycle, day = divmod(days + _MARCH_1_OF_YEAR_0, DAYS_PER_CYCLE)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= year * 365 + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    year += cycle * 400
    return (year, month + 3, day) if month < 10 else (year + 1, month - 9, day)


def days_in_month(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def iso_day_of_week(days: int) -> int:
    """1 for Monday to 7 for Sunday."""
    return (days + 3) % 7 + 1
