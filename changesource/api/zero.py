"""POST /api/zero/query"""

from __future__ import annotations

import time
from http import HTTPStatus

from django.core.exceptions import RequestDataTooBig
from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from changesource.authentication.callers import caller_of
from changesource.authentication.tokens import authenticate
from changesource.errors import CallerRefused, DeploymentRefused, InvalidTransform, TokenRefused
from changesource.limits.addresses import UNKNOWN, normalised
from changesource.models.queries.clients import Identity
from changesource.models.queries.refusals import Refused
from changesource.operations.named_queries import answer_request, deployment_of
from changesource.protocol.transforms import transform_failed
from changesource.service import StreamService, running_service

QUERY_PATH = "/api/zero/query"


@csrf_exempt
@require_POST
async def query(request: HttpRequest) -> HttpResponse:
    """Answers a request of zero-cache for the ASTs of named queries (`protocol.transforms`).

    zero-cache proves itself with `X-Api-Key`, a credential of its client. It sends no CSRF token, and no page of another site
    can send that header; a user who is known by a cookie needs an `Origin` that is trusted. After 401 a client of zero-cache
    asks its user to log in; 403 says that zero-cache is set up wrongly; after 503 it tries again.
    """
    asked_at = time.monotonic()
    service = await running_service()
    client = ""
    try:
        async with service.limits.named_queries.work():
            identity = await _authenticated(request)
        client = identity.name
        caller = await caller_of(request, service.settings)
        deployment = deployment_of(identity, request.GET.get("appID", ""), request.GET.get("schema", ""))
        async with service.limits.named_queries.work():
            answer = await answer_request(deployment, _body_of(request), caller, asked_at)
    except InvalidTransform as error:
        return _json(transform_failed(error))
    except TokenRefused as error:
        return await _refusal(request, service, HTTPStatus.UNAUTHORIZED, error.reason, error.client)
    except CallerRefused as error:
        return await _refusal(request, service, HTTPStatus.UNAUTHORIZED, error.args[0], client)
    except DeploymentRefused as error:
        return await _refusal(request, service, HTTPStatus.FORBIDDEN, error.args[0], client)
    except DatabaseError:
        return _detail(HTTPStatus.SERVICE_UNAVAILABLE, "The Django database did not answer. Try again.")
    return _json(answer)


def _body_of(request: HttpRequest) -> bytes:
    try:
        return request.body
    except RequestDataTooBig as error:
        raise InvalidTransform("The body is larger than DATA_UPLOAD_MAX_MEMORY_SIZE.") from error


async def _authenticated(request: HttpRequest) -> Identity:
    key = request.headers.get("X-Api-Key", "")
    if not key:
        raise TokenRefused("no X-Api-Key")
    return await authenticate(key)


async def _refusal(
    request: HttpRequest, service: StreamService, status: HTTPStatus, reason: str, client: str = ""
) -> HttpResponse:
    """Refuses a request after a while, as zero-cache asks again at once. Who is refused does not learn why."""
    address = normalised(request.META.get("REMOTE_ADDR", "")) or UNKNOWN
    service.limits.refusals.note(Refused(address, client, int(status), reason))
    await service.limits.held_queries.hold(address)
    return _detail(status, "The credentials of this request do not allow it. The server's log has the reason.")


def _detail(status: HTTPStatus, detail: str) -> HttpResponse:
    return JsonResponse({"detail": detail}, status=status, headers={"Cache-Control": "no-store"})


def _json(body: bytes) -> HttpResponse:
    return HttpResponse(body, content_type="application/json", headers={"Cache-Control": "no-store"})
