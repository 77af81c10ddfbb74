"""Routes and views of the HTTP endpoints."""

from django.urls import path
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from changesource.api.readiness import readiness, readyz
from changesource.api.schema import SchemaView
from changesource.api.snapshots import SnapshotsView


@api_view(["GET"])
@authentication_classes([])
@permission_classes([AllowAny])
def healthz(request: Request) -> Response:
    """200 whenever the process answers, whether or not the services that it depends on are
    there."""
    return Response({"status": "ok"})


urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("api/readiness", readiness, name="readiness"),
    path("api/apps/<str:app_id>/schema", SchemaView.as_view(), name="schema"),
    path("api/apps/<str:app_id>/snapshots", SnapshotsView.as_view(), name="snapshots"),
]
