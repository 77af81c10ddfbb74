"""Which right Redis denies to its user."""

from __future__ import annotations

import re

from redis.exceptions import NoPermissionError, ResponseError

_COMMAND = re.compile(r"permissions to run the '(?P<command>[a-z|_-]+)' command")
_ACCESS = re.compile(r"No permissions to access a (?P<what>key|channel)")


def describe_failure(error: BaseException) -> str:
    """Describes the error for a log line or a message: the right that is missing, or else the
    error's type. The text holds neither the user's name nor what was requested."""
    if isinstance(error, ResponseError):
        if found := _COMMAND.search(str(error)):
            return f"its user may not run {found['command'].replace('|', ' ').upper()}"
        if found := _ACCESS.search(str(error)):
            return f"its user may not use a {found['what']} that begins with changesource"
        if isinstance(error, NoPermissionError):
            return "its user lacks a permission"
    return type(error).__name__
