"""The keys of an issuer that publishes them at a URL (JWKS).

PyJWT 2.15 has `PyJWKClient` for this, of which nothing would be left in a subclass: it fetches in
the caller's thread, takes an answer of any size, drops expired keys when a fetch fails and then
asks again for every token, ignores keys without a `kid`, and accepts secrets that anyone can read.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from changesource.authentication.keys import MAX_KEYS_BYTES, VerificationKey, public_keys
from changesource.errors import InvalidJwtSettings, KeysUnavailable

logger = logging.getLogger(__name__)

FRESH_SECONDS = 300.0
"""How long keys are used before they are fetched again."""
RETRY_SECONDS = 10.0
"""The issuer is asked at most once in this time, however many tokens name an unknown key."""
TIMEOUT_SECONDS = 5.0
"""How long the issuer may be silent, and how long a token waits for it."""
_CHUNK_BYTES = 16 * 1024


def is_safe_url(url: str) -> bool:
    """Whether the answer cannot be changed on its way: the URL has TLS, or is on this machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host or "")))


class RemoteKeys:
    """The issuer's keys, fetched when they are needed: in a thread, one fetch at a time. If a fetch
    fails, the known keys stay in use. Any event loop may use it."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic, setting: str = "JWT_JWKS_URL") -> None:
        """`setting` is the name of the setting that holds `url`, for messages."""
        self._url = url
        self._setting = setting
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched_at: float | None = None
        self._begun_at: float | None = None
        self._fetch: Future[None] | None = None

    async def keys_for(self, kid: object) -> tuple[VerificationKey, ...]:
        """All keys, fetched again if they are old or none of them has the name `kid`. Waits at most
        `TIMEOUT_SECONDS`."""
        fetch = self._needed_fetch(kid)
        if fetch is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(fetch), TIMEOUT_SECONDS)
        return self._keys

    def _needed_fetch(self, kid: object) -> Future[None] | None:
        with self._lock:
            now = self._clock()
            is_fresh = self._fetched_at is not None and now - self._fetched_at < FRESH_SECONDS
            if is_fresh and (not kid or any(key.kid == kid for key in self._keys)):
                return None
            if self._fetch is None and (self._begun_at is None or now - self._begun_at >= RETRY_SECONDS):
                self._begun_at = now
                self._fetch = Future()
                # So that a caller that is cancelled while it waits does not cancel the fetch.
                self._fetch.set_running_or_notify_cancel()
                threading.Thread(target=self._run, args=[self._fetch], name="fetch-keys", daemon=True).start()
            return self._fetch

    def _run(self, fetch: Future[None]) -> None:
        try:
            keys = public_keys(fetch_text(self._url, self._setting))
            with self._lock:
                self._keys, self._fetched_at = keys, self._clock()
        except (KeysUnavailable, InvalidJwtSettings) as error:
            logger.error("the keys at %s could not be fetched, those known stay in use: %s", self._setting, error)
        finally:
            with self._lock:
                self._fetch = None
            fetch.set_result(None)


@lru_cache(maxsize=4)
def remote_keys(url: str, setting: str) -> RemoteKeys:
    """The keys at `url`, the value of `setting`, which all tokens of this process share."""
    return RemoteKeys(url, setting=setting)


def fetch_text(url: str, setting: str = "JWT_JWKS_URL") -> bytes:
    """The body of a GET of `url`. Raises `KeysUnavailable`, which does not repeat the URL."""
    if not is_safe_url(url):
        raise KeysUnavailable(f"{setting} is not an https URL.")
    ends_at = time.monotonic() + 2 * TIMEOUT_SECONDS
    try:
        request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 (is_safe_url knows its scheme)
        with _opener(url).open(request, timeout=TIMEOUT_SECONDS) as response:
            return _read(response, ends_at)
    except HTTPError as error:
        with error:
            raise KeysUnavailable(f"The issuer answered with status {error.code}.") from error
    except (OSError, HTTPException, ValueError) as error:
        raise KeysUnavailable(f"The issuer gave no valid answer ({type(error).__name__}).") from error


def _read(response: Any, ends_at: float) -> bytes:
    text = b""
    while chunk := response.read1(_CHUNK_BYTES):
        text += chunk
        if len(text) > MAX_KEYS_BYTES:
            raise KeysUnavailable(f"The issuer sends more than {MAX_KEYS_BYTES} bytes.")
        if time.monotonic() > ends_at:
            raise KeysUnavailable("The issuer takes too long to answer.")
    return text


def _opener(url: str) -> OpenerDirector:
    """An opener that uses the proxies of the environment, except for this machine."""
    is_local = urlsplit(url).scheme == "http"
    return build_opener(ProxyHandler({}) if is_local else ProxyHandler(), _SameSchemeOnly())


class _SameSchemeOnly(HTTPRedirectHandler):
    """Follows redirects that keep the scheme and are safe."""

    max_redirections = 3

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != req.type or not is_safe_url(newurl):
            fp.close()
            raise KeysUnavailable("The issuer redirects to a URL whose answer could be changed on its way.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
