"""Connections that were refused, with the reason and how often."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from changesource.admin.read_only import ReadOnlyAdmin
from changesource.models import Refusal


@admin.register(Refusal)
class RefusalAdmin(ReadOnlyAdmin):
    list_display = ["address", "client", "code", "reason", "count", "first_seen", "last_seen"]
    list_filter = ["code", "reason", "last_seen"]
    search_fields = ["address", "client", "reason"]
    date_hierarchy = "last_seen"

    def get_queryset(self, request: HttpRequest) -> Any:
        return Refusal.objects.all()
