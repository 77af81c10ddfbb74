"""Time zones by their Olson names or as offsets from UTC, for every date that BSON has."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

from changesource.mql.errors import MappingError
from changesource.mql.expressions.gregorian import DAYS_PER_CYCLE

SECONDS_PER_CYCLE: Final = DAYS_PER_CYCLE * 86_400

_OFFSET = re.compile(r"([+-])([0-9]{2})(?::?([0-9]{2}))?", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_FIRST = (datetime(1600, 1, 1) - _EPOCH) // timedelta(seconds=1)
_END = _FIRST + 20 * SECONDS_PER_CYCLE
"""Seconds of the years 1600 to 9599. Before them no place had another time than that of the sun, as in 1600; after them the
rules repeat with the calendar."""

_OF_THE_HOST = {"localtime", "posixrules"}
"""Files that some systems keep among the zones; what they hold is another thing on each."""


@dataclass(frozen=True)
class TimeZone:
    """A fixed offset, in seconds east of UTC, or a zone of the tz database, which overrides it."""

    offset_seconds: int = 0
    zone: zoneinfo.ZoneInfo | None = None

    @property
    def is_utc(self) -> bool:
        """MongoDB takes "UTC" and "+00:00" for UTC, but not the zones of the database that are no different ("GMT")."""
        return self.zone is None and self.offset_seconds == 0

    def offset_at(self, milliseconds: int) -> int:
        """Seconds east of UTC at an instant, in milliseconds since the epoch."""
        if self.zone is None:
            return self.offset_seconds
        instant = _EPOCH + timedelta(seconds=_within_datetime(milliseconds // 1000))
        return _seconds(instant.replace(tzinfo=UTC).astimezone(self.zone).utcoffset())

    def local(self, milliseconds: int) -> int:
        """What the clock shows at an instant, both in milliseconds since 1970-01-01."""
        return milliseconds + self.offset_at(milliseconds) * 1000

    def instant(self, local_milliseconds: int) -> int:
        """When the clock shows that: the first time if it does twice; if it never does, as if it had not been put forward."""
        if self.zone is None:
            return local_milliseconds - self.offset_seconds * 1000
        local = _EPOCH + timedelta(seconds=_within_datetime(local_milliseconds // 1000))
        return local_milliseconds - _seconds(local.replace(tzinfo=self.zone).utcoffset()) * 1000


UTC_ZONE: Final = TimeZone()


@cache
def time_zone(name: str) -> TimeZone:
    """The zone of an Olson name or of "±hh", "±hhmm" or "±hh:mm". Raises `MappingError`."""
    if name == "UTC":
        return UTC_ZONE
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        seconds = int(hours) * 3600 + int(minutes or 0) * 60
        return TimeZone(-seconds if sign == "-" else seconds)
    if name not in _names():
        raise MappingError(
            "There is no such time zone. Write an Olson name (Europe/Paris), UTC, or an offset (+05:30)."
        )
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
