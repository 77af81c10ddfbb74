"""Rows that could not be built as their documents require."""

from __future__ import annotations

from django.contrib import admin

from changesource.admin.read_only import ReadOnlyAdmin
from changesource.models import RowErrorRecord


@admin.register(RowErrorRecord)
class RowErrorAdmin(ReadOnlyAdmin):
    list_display = ["document_id", "app", "table", "column", "reason", "count", "first_seen", "last_seen"]
    list_filter = ["app", "table", "column", "last_seen"]
    search_fields = ["document_id", "table", "column", "reason"]
