"""How often somebody may try to log in, counted before a password is looked at."""

from __future__ import annotations

import functools
import time
import unicodedata
from typing import Any, NoReturn

from django.http import HttpRequest, HttpResponse
from django.utils.deprecation import MiddlewareMixin

from changesource.conf import load_settings
from changesource.limits.addresses import network_of, normalised
from changesource.limits.buckets import TokenBuckets
from changesource.limits.refusals import RefusalLog
from changesource.models.client_store import Refused
from changesource.protocol import closing

MAX_NAME_CHARACTERS = 150
"""Of a user name, as of Django's own. Longer ones are counted together if they begin alike."""


class TooManyLogIns(Exception):
    """An address, or whoever tries one user name, has to wait for `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__("Too many log-ins.")
        self.seconds = seconds


class LogInLimits:
    """The first of Django's authentication backends. It knows no user, and stops those who try too often.

    A log-in that succeeds gives no token back: somebody who knows one password must not try others without end.
    """

    def authenticate(self, request: HttpRequest | None, username: str | None = None, **credentials: Any) -> None:
        """Raises `TooManyLogIns`. The address comes first: one that has to wait takes nothing from anybody's name."""
        address = UNKNOWN_ADDRESS if request is None else normalised(request.META.get("REMOTE_ADDR", ""))
        by_address, by_user = _buckets()
        if request is not None and not by_address.take(network := network_of(address)):
            _refuse(address, closing.TOO_MANY_LOG_INS_OF_ADDRESS, by_address.seconds_until_free(network))
        if username is not None and not by_user.take(name := normalised_name(username)):
            _refuse(address, closing.TOO_MANY_LOG_INS_OF_USER, by_user.seconds_until_free(name))


class TooManyLogInsMiddleware(MiddlewareMixin):
    """Answers 429 to a log-in that came too soon."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, TooManyLogIns):
            return None
        text = f"Too many log-ins. Wait {exception.seconds} seconds, and try again."
        headers = {"Retry-After": str(exception.seconds)}
        return HttpResponse(text, status=429, headers=headers, content_type="text/plain; charset=utf-8")


UNKNOWN_ADDRESS = "this machine"
_refusals = RefusalLog(time.monotonic)


def normalised_name(username: str) -> str:
    """One text for all ways to write a user name that a database might take for the same."""
    return unicodedata.normalize("NFKC", username[:MAX_NAME_CHARACTERS]).casefold().strip()


@functools.cache
def _buckets() -> tuple[TokenBuckets, TokenBuckets]:
    """By address and by user name, for the process."""
    settings = load_settings()
    return TokenBuckets(settings.logins_per_address), TokenBuckets(settings.logins_per_user)


def _refuse(address: str, reason: str, seconds: int) -> NoReturn:
    # Not the name: people type passwords into that field.
    _refusals.note(Refused(address, "", 429, reason))
    raise TooManyLogIns(seconds)
