"""Routes and views of the HTTP endpoints."""

from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response


@api_view(["GET"])
@permission_classes([AllowAny])
def healthz(request: Request) -> Response:
    """The process answers. Nothing else is asked: what it depends on may come and go."""
    return Response({"status": "ok"})


urlpatterns = [path("healthz", healthz, name="healthz")]
