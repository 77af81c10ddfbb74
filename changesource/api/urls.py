"""Routes of the HTTP endpoints."""

from django.urls import path

from changesource.api.probes import healthz, readiness, readyz
from changesource.api.schema import SchemaView
from changesource.api.snapshots import SnapshotsView
from changesource.api.zero import query

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("api/readiness", readiness, name="readiness"),
    path("api/zero/query", query, name="zero-query"),
    path("api/apps/<str:app_id>/schema", SchemaView.as_view(), name="schema"),
    path("api/apps/<str:app_id>/snapshots", SnapshotsView.as_view(), name="snapshots"),
]
