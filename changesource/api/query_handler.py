"""What serves `POST /api/zero/query` in place of Django's handler.

After a publish, all client groups ask at once. Django's middleware takes each request from the event loop to threads and back
a dozen times, which takes longer than the answer, and the streams have to wait meanwhile.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse

from changesource.api.zero import query


class QueryHandler(ASGIHandler):
    """Answers requests for named queries without middleware. What matters of it here is done: the host has to be one of
    ALLOWED_HOSTS, and `request.session` and `request.user` are there for USER_AUTHENTICATION."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Without a thread for each request, which Django begins for its signals, and which would last until the answer.
        `caller_of` begins one where it needs it."""
        await self.handle(scope, receive, send)

    def load_middleware(self, is_async: bool = False) -> None:
        self._middleware_chain = convert_exception_to_response(_answer)


async def _answer(request: HttpRequest) -> HttpResponse:
    request.get_host()  # raises DisallowedHost
    _sessions.process_request(request)
    _users.process_request(request)
    response = await query(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _no_response(request: HttpRequest) -> HttpResponse:
    raise NotImplementedError


_sessions = SessionMiddleware(_no_response)
_users = AuthenticationMiddleware(_no_response)
