"""GET /healthz, GET /readyz and GET /api/readiness."""

from __future__ import annotations

from collections.abc import Mapping

from asgiref.sync import sync_to_async
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from changesource.models.roles import may_view
from changesource.operations.readiness import kinds_of, missing_of
from changesource.service import running_service


@api_view(["GET"])
@authentication_classes([])
@permission_classes([AllowAny])
def healthz(request: Request) -> Response:
    """The process answers. Nothing else is checked: what it depends on may come and go."""
    return Response({"status": "ok"})


@require_safe
async def readyz(request: HttpRequest) -> JsonResponse:
    """200 `{"status": "ok"}`, or 503 with the kinds of things that are missing. It runs in the
    event loop of the streams.

    Anyone may ask, so it uses no session and gives no names.
    """
    return _answer(kinds_of(await missing_of(await running_service())))


@require_safe
async def readiness(request: HttpRequest) -> JsonResponse:
    """The same with names and reasons, for staff who may view all apps."""
    user = await request.auser()
    if not user.is_authenticated:
        return _refusal(401, "Log in to admin first.")
    if not user.is_staff or not await sync_to_async(may_view)(user, "app"):
        return _refusal(403, "Only staff with the permission to view apps may see this.")
    return _answer(await missing_of(await running_service()))


def _answer(reasons: Mapping[str, str]) -> JsonResponse:
    answer = {"status": "unavailable", "reasons": dict(reasons)} if reasons else {"status": "ok"}
    response = JsonResponse(answer, status=503 if reasons else 200, headers={"Cache-Control": "no-store"})
    # Otherwise Django logs an error for each answer with 503, and probes ask often.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def _refusal(status: int, detail: str) -> JsonResponse:
    return JsonResponse({"detail": detail}, status=status, headers={"Cache-Control": "no-store"})
