"""Time zones by their Olson names or as offsets from UTC, for every date of BSON."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from changesource.mql.errors import MqlError
from changesource.mql.expressions.gregorian import DAYS_PER_CYCLE

SECONDS_PER_CYCLE: Final = DAYS_PER_CYCLE * 86_400

_OFFSET = re.compile(r"([+-])([0-9]{2})(?::?([0-9]{2}))?", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_FIRST = (datetime(1600, 1, 1) - _EPOCH) // timedelta(seconds=1)
_END = _FIRST + 20 * SECONDS_PER_CYCLE
"""The seconds of the years 1600 to 9599. Before 1600 every place went by its solar time, as in 1600; after 9599 the rules
repeat with the calendar."""

_OF_THE_HOST = {"localtime", "posixrules"}
"""Files that some systems keep among the zones, with different contents on each."""


@dataclass(frozen=True)
class TimeZone:
    """A fixed offset in seconds east of UTC, or a zone of the tz database, which takes precedence."""

    offset_seconds: int = 0
    zone: zoneinfo.ZoneInfo | None = None

    @property
    def is_utc(self) -> bool:
        """True for "UTC" and "+00:00". MongoDB does not count equivalent zones of the database, such as "GMT"."""
        return self.zone is None and self.offset_seconds == 0

    def offset_at(self, milliseconds: int) -> int:
        """The offset in seconds east of UTC at an instant, given in milliseconds since the epoch."""
        if self.zone is None:
            return self.offset_seconds
        instant = _EPOCH + timedelta(seconds=_within_datetime(milliseconds // 1000))
        return _seconds(instant.replace(tzinfo=UTC).astimezone(self.zone).utcoffset())

    def local(self, milliseconds: int) -> int:
        """The time on the local clock at an instant, both in milliseconds since 1970-01-01."""
        return milliseconds + self.offset_at(milliseconds) * 1000

    def instant(self, local_milliseconds: int) -> int:
        """The instant of a time on the local clock: the first one, if the clock shows it twice; if the clock skips it, the
        instant at which it would be shown without the skip."""
        if self.zone is None:
            return local_milliseconds - self.offset_seconds * 1000
        local = _EPOCH + timedelta(seconds=_within_datetime(local_milliseconds // 1000))
        return local_milliseconds - _seconds(local.replace(tzinfo=self.zone).utcoffset()) * 1000


UTC_ZONE: Final = TimeZone()


@cache
def time_zone(name: str) -> TimeZone:
    """The zone of an Olson name, or of "±hh", "±hhmm" or "±hh:mm". Raises `MqlError`."""
    if name == "UTC":
        return UTC_ZONE
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        seconds = int(hours) * 3600 + int(minutes or 0) * 60
        return TimeZone(-seconds if sign == "-" else seconds)
    if name not in _names():
        raise MqlError("There is no such time zone. Write an Olson name (Europe/Paris), UTC, or an offset (+05:30).")
    return TimeZone(zone=zoneinfo.ZoneInfo(name))


@cache
def _names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - _OF_THE_HOST)


def _within_datetime(seconds: int) -> int:
    if _FIRST <= seconds < _END:
        return seconds
    if seconds < _FIRST:
        return _FIRST
    return _END - SECONDS_PER_CYCLE + (seconds - _END) % SECONDS_PER_CYCLE


def _seconds(offset: timedelta | None) -> int:
    return 0 if offset is None else offset // timedelta(seconds=1)
