"""How often a user may try to log in, counted before the password is checked."""

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
from changesource.models.queries.refusals import Refused
from changesource.protocol import closing

MAX_NAME_CHARACTERS = 150
"""The length of a user name that counts, which is Django's own limit. Longer names that begin alike
are counted together."""
UNKNOWN_ADDRESS = "this machine"
"""The address of a log-in without a request."""


class TooManyLogIns(Exception):
    """An address, or everyone who tries one user name, has to wait for `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__("Too many log-ins.")
        self.seconds = seconds


class LogInLimits:
    """The first of Django's authentication backends. It knows no users, and stops log-ins that come
    too often.

    A log-in that succeeds returns no token to the bucket: whoever knows one password must not try
    others without limit.
    """

    def authenticate(self, request: HttpRequest | None, username: str | None = None, **credentials: Any) -> None:
        """Raises `TooManyLogIns`. The address is counted first, so that one that has to wait uses
        up nothing of a user name."""
        address = UNKNOWN_ADDRESS if request is None else normalised(request.META.get("REMOTE_ADDR", ""))
        by_address, by_user = _buckets()
        if request is not None and not by_address.take(network := network_of(address)):
            _refuse(address, closing.TOO_MANY_LOG_INS_OF_ADDRESS, by_address.seconds_until_free(network))
        if username is not None and not by_user.take(name := normalised_name(username)):
            _refuse(address, closing.TOO_MANY_LOG_INS_OF_USER, by_user.seconds_until_free(name))


class TooManyLogInsMiddleware(MiddlewareMixin):
    """Answers 429 to a log-in that comes too soon."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, TooManyLogIns):
            return None
        text = f"Too many log-ins. Wait {exception.seconds} seconds, and try again."
        headers = {"Retry-After": str(exception.seconds)}
        return HttpResponse(text, status=429, headers=headers, content_type="text/plain; charset=utf-8")


_refusals = RefusalLog(time.monotonic)


def normalised_name(username: str) -> str:
    """One text for all spellings of a user name that a database might treat as equal."""
    return unicodedata.normalize("NFKC", username[:MAX_NAME_CHARACTERS]).casefold().strip()


@functools.cache
def _buckets() -> tuple[TokenBuckets, TokenBuckets]:
    """The buckets of this process, by address and by user name."""
    settings = load_settings()
    return TokenBuckets(settings.logins_per_address), TokenBuckets(settings.logins_per_user)


def _refuse(address: str, reason: str, seconds: int) -> NoReturn:
    # Without the user name: people type passwords into that field.
    _refusals.note(Refused(address, "", 429, reason))
    raise TooManyLogIns(seconds)
