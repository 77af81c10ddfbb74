"""Replicas that zero-caches have built."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import admin

from changesource.admin.read_only import ReadOnlyAdmin
from changesource.errors import InvalidWatermark
from changesource.models import Replica
from changesource.protocol.watermarks import Position


@admin.register(Replica)
class ReplicaAdmin(ReadOnlyAdmin):
    list_display = ["app", "shard_num", "replica_version", "version_number", "client", "has_all_until", "last_seen_at"]
    list_display_links = ["replica_version"]
    list_filter = ["app", "client", "last_seen_at"]
    list_select_related = ["app", "client"]
    search_fields = ["app__app_id", "replica_version", "client__name"]
    readonly_fields = ["has_all_until"]

    @admin.display(description="has all until", ordering="acknowledged")
    def has_all_until(self, replica: Replica) -> datetime | None:
        """The time of the last change that zero-cache has stored, by the source's clock."""
        try:
            return datetime.fromtimestamp(Position.from_watermark(replica.acknowledged).seconds, UTC)
        except InvalidWatermark:  # it has acknowledged nothing yet
            return None
