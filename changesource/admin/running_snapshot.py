"""Snapshots that are being sent or are waiting for a slot."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from changesource.admin.read_only import ReadOnlyAdmin
from changesource.models import RunningSnapshot


@admin.register(RunningSnapshot)
class RunningSnapshotAdmin(ReadOnlyAdmin):
    list_display = [
        "app", "shard_num", "client", "state", "rows", "documents", "total_documents", "rate", "time_left", "asked_at"
    ]  # fmt: skip
    list_filter = ["app", "client"]
    search_fields = ["app__app_id", "client__name"]
    readonly_fields = ["state", "rate", "time_left"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(pk__in=RunningSnapshot.objects.alive()).select_related("client")

    @admin.display(description="rows per second")
    def rate(self, snapshot: RunningSnapshot) -> str:
        return f"{snapshot.rows_per_second:.0f}"

    @admin.display(description="time left")
    def time_left(self, snapshot: RunningSnapshot) -> str:
        left = snapshot.seconds_left
        return "" if left is None else f"about {left:.0f} s"
