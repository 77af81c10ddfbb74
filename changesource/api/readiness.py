"""GET /readyz."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from changesource.streaming.readiness import find_missing
from changesource.streaming.service import running_service


@require_safe
async def readyz(request: HttpRequest) -> JsonResponse:
    """200 `{"status": "ok"}`, or 503 with a reason for each thing that is missing. Async, in the loop of the streams."""
    missing = await find_missing(await running_service())
    if missing:
        return JsonResponse({"status": "unavailable", "reasons": missing}, status=503)
    return JsonResponse({"status": "ok"})
