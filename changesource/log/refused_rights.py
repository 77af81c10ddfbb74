"""Which right Redis refuses its user."""

from __future__ import annotations

import re

from redis.exceptions import NoPermissionError, ResponseError

_COMMAND = re.compile(r"permissions to run the '(?P<command>[a-z|_-]+)' command")
_ACCESS = re.compile(r"No permissions to access a (?P<what>key|channel)")


def describe_failure(error: BaseException) -> str:
    """What happened, for a log or a message: the right that is missing, else the error's type. A user's name, and what was
    asked for, are not in it."""
    if isinstance(error, ResponseError):
        if found := _COMMAND.search(str(error)):
            return f"its user may not run {found['command'].replace('|', ' ').upper()}"
        if found := _ACCESS.search(str(error)):
            return f"its user may not use a {found['what']} that begins with changesource"
        if isinstance(error, NoPermissionError):
            return "its user lacks a right"
    return type(error).__name__
