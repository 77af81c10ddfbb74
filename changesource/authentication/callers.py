"""Who the user is behind a request that zero-cache forwards.

zero-cache sends what the browser gave it: the token of the client as `Authorization: Bearer`, the
browser's `Origin`, and its cookies if ZERO_QUERY_FORWARD_COOKIES is on. USER_AUTHENTICATION names
what looks at these. Whatever is presented and proves nothing is refused, never taken for a visitor.

A browser sends cookies with every request, also when a page of another site has opened the
connection to zero-cache. The view is exempt from Django's CSRF check, for which zero-cache has no
token. So cookies count only with an `Origin` that Django trusts.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from inspect import isawaitable
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from asgiref.sync import ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import DisallowedHost
from django.db import close_old_connections
from django.db.models import Manager
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.http import is_same_domain
from django.utils.module_loading import import_string
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated, PermissionDenied
from rest_framework.request import Request

from changesource.authentication.json_web_tokens import verified_claims
from changesource.conf import ChangeSourceSettings, load_settings
from changesource.errors import CallerRefused, InvalidJwtSettings, InvalidUserAuthentication, TokenRefused
from changesource.protocol.requests import MAX_TOKEN_LENGTH
from changesource.queries.registry import Caller

logger = logging.getLogger(__name__)

Authentication: TypeAlias = Callable[[HttpRequest], Any] | type[BaseAuthentication]


async def caller_of(request: HttpRequest, settings: ChangeSourceSettings) -> Caller:
    """The user behind a request that zero-cache forwards. A visitor who has not logged in is
    `Caller()`.

    Raises `CallerRefused` with a reason for our own log, which repeats nothing of what was
    presented, and whatever a function of USER_AUTHENTICATION raises.
    """
    for path in settings.user_authentication:
        authentication = _configured(path)
        async with _database_thread(may_query=_may_query(authentication, request)):
            caller = await _ask(authentication, request)
        if caller is not None:
            return _checked(caller, path)
    return Caller()


async def jwt_caller(request: HttpRequest) -> Caller | None:
    """The user whom a bearer token names in `sub`, with all its claims. It is a JWT that an issuer
    has signed for USER_JWT_AUDIENCE. None without a bearer token. Raises `CallerRefused`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    claims = await _claims_of_jwt(token.strip(), load_settings())
    user_id = claims.get("sub")
    if not isinstance(user_id, str) or not user_id:
        raise CallerRefused("a JWT without sub")
    return Caller(user_id, claims)


async def session_caller(request: HttpRequest) -> Caller | None:
    """The user who has logged in to Django in this session. None without a session, or if nobody
    has logged in. Raises `CallerRefused` if the request has no origin that Django trusts."""
    if django_settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None
    caller = await sync_to_async(caller_of_user)(await request.auser())
    if caller is not None and not has_trusted_origin(request):
        raise CallerRefused("a session, but its Origin is missing or not among CSRF_TRUSTED_ORIGINS")
    return caller


def caller_of_user(user: Any) -> Caller | None:
    """The caller that a user of Django is, with the claims `sub`, `is_staff` and `groups` (names in
    order). None for a user who has not logged in. Queries the database."""
    if not user.is_authenticated:
        return None
    if user.pk is None:
        raise CallerRefused("a user without a primary key")
    user_id = str(user.pk)
    groups = getattr(user, "groups", None)  # a user model without permissions has none
    names = sorted(groups.values_list("name", flat=True)) if isinstance(groups, Manager) else []
    return Caller(user_id, {"sub": user_id, "is_staff": bool(getattr(user, "is_staff", False)), "groups": names})


def has_trusted_origin(request: HttpRequest) -> bool:
    """Whether the page that sent the request is one that Django's CSRF check trusts: its `Origin` is
    among CSRF_TRUSTED_ORIGINS, or that of the request's own host. False without an `Origin`."""
    origin = request.headers.get("Origin", "")
    trusted = CsrfViewMiddleware(lambda request: HttpResponse())
    if origin in trusted.allowed_origins_exact or origin == _own_origin(request):
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    domains = trusted.allowed_origin_subdomains.get(parts.scheme, ())
    is_origin = origin == f"{parts.scheme}://{parts.netloc}"
    return is_origin and any(is_same_domain(parts.netloc, domain) for domain in domains)


def authentication_at(path: str) -> Authentication:
    """What USER_AUTHENTICATION names by `path`. Raises `InvalidUserAuthentication`."""
    try:
        found = import_string(path)
    except Exception as error:
        # Any module may be imported here, and the text of its error may repeat what it has read.
        reason = str(error) if isinstance(error, ImportError) else type(error).__name__
        raise InvalidUserAuthentication(f"{path!r} cannot be imported: {reason}") from error
    is_class = isinstance(found, type)
    if not callable(found) or (is_class and not issubclass(found, BaseAuthentication)):
        raise InvalidUserAuthentication(f"{path!r} is neither a function nor a subclass of BaseAuthentication.")
    return found  # type: ignore[no-any-return]


def _configured(path: str) -> Authentication:
    try:
        return authentication_at(path)
    except InvalidUserAuthentication as error:
        logger.error("users cannot be authenticated: %s", error)
        raise CallerRefused("USER_AUTHENTICATION is wrong; manage.py check says how") from error


@asynccontextmanager
async def _database_thread(*, may_query: bool) -> AsyncIterator[None]:
    """What is asked inside runs in a thread of this request, if it runs in a thread, and connections to the database that it
    has opened there are closed as Django closes them after a request."""
    async with ThreadSensitiveContext():
        try:
            yield
        finally:
            if may_query:
                await sync_to_async(close_old_connections)()


def _may_query(authentication: Authentication, request: HttpRequest) -> bool:
    if authentication is session_caller:
        return django_settings.SESSION_COOKIE_NAME in request.COOKIES
    return authentication is not jwt_caller


async def _ask(authentication: Authentication, request: HttpRequest) -> Any:
    if isinstance(authentication, type):
        return await sync_to_async(_caller_of_class)(authentication, request)
    if iscoroutinefunction(authentication):
        return await authentication(request)
    # In a function of its own, because it may also be an object with an asynchronous __call__.
    found = await sync_to_async(lambda: authentication(request))()
    return await found if isawaitable(found) else found


def _caller_of_class(authentication: type[BaseAuthentication], request: HttpRequest) -> Caller | None:
    try:
        found = authentication().authenticate(Request(request))
    except (AuthenticationFailed, NotAuthenticated, PermissionDenied):
        # Without its cause, whose text may repeat a token.
        raise CallerRefused(f"{authentication.__name__} refuses what the user presented") from None
    caller = None if found is None else caller_of_user(found[0])
    if caller is not None and request.COOKIES and not has_trusted_origin(request):
        # Nothing says whether the class looked at a cookie.
        raise CallerRefused("cookies, but their Origin is missing or not among CSRF_TRUSTED_ORIGINS")
    return caller


def _checked(caller: Any, path: str) -> Caller:
    """Whatever is no caller must not pass for one."""
    if not isinstance(caller, Caller):
        raise CallerRefused(f"{path} gave neither a Caller nor None")
    if caller.user_id is not None and not _is_user_id(caller.user_id):
        raise CallerRefused(f"{path} gave a user_id that is empty, or not text that UTF-8 can hold")
    return caller


def _is_user_id(user_id: object) -> bool:
    return isinstance(user_id, str) and user_id != "" and not any("\ud800" <= c <= "\udfff" for c in user_id)


async def _claims_of_jwt(token: str, settings: ChangeSourceSettings) -> dict[str, Any]:
    if not settings.user_jwt.is_on:
        raise CallerRefused("a bearer token, but no keys for users' JWTs are configured")
    if len(token) > MAX_TOKEN_LENGTH:
        raise CallerRefused(f"the bearer token is longer than {MAX_TOKEN_LENGTH} characters")
    try:
        return await verified_claims(token, settings.user_jwt, settings.jwt)
    except InvalidJwtSettings as error:
        logger.error("JWTs of users cannot be accepted: %s", error)
        raise CallerRefused("a JWT, but the settings for users' JWTs are wrong; manage.py check says how") from error
    except TokenRefused as error:
        # Without its cause, whose text may repeat the token.
        raise CallerRefused(error.reason) from None


def _own_origin(request: HttpRequest) -> str | None:
    try:
        return f"{request.scheme}://{request.get_host()}"
    except DisallowedHost:
        return None
