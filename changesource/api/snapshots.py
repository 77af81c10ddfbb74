"""GET /api/apps/<app>/snapshots"""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from changesource.api.schema import OneRenderer, Session, visible_app
from changesource.models import RunningSnapshot
from changesource.models.roles import may_view


class SnapshotsView(APIView):
    """The snapshots of an app that are being sent or wait for a slot, in all processes, for staff
    who may view the app and running snapshots."""

    authentication_classes = [Session]
    permission_classes = [IsAdminUser]
    content_negotiation_class = OneRenderer

    def get(self, request: Request, app_id: str) -> Response:
        app = visible_app(request, app_id)
        if not may_view(request.user, "runningsnapshot", app):
            raise PermissionDenied
        running = RunningSnapshot.objects.alive().filter(app=app).select_related("client")
        return Response([_shown(snapshot) for snapshot in running], headers={"Cache-Control": "no-store"})


def _shown(snapshot: RunningSnapshot) -> dict[str, Any]:
    left = snapshot.seconds_left
    return {
        "client": snapshot.client.name if snapshot.client is not None else None,
        "shard": snapshot.shard_num,
        "state": snapshot.state,
        "askedAt": snapshot.asked_at,
        "beganAt": snapshot.began_at,
        "rows": snapshot.rows,
        "documents": snapshot.documents,
        "totalDocuments": snapshot.total_documents,
        "rowsPerSecond": round(snapshot.rows_per_second, 1),
        "secondsLeft": None if left is None else round(left),
    }
