"""Replicas that zero-caches were told to build and have not built yet."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import pluralize

from changesource.admin.read_only import ReadOnlyAdmin
from changesource.models import AwaitedReplica


@admin.register(AwaitedReplica)
class AwaitedReplicaAdmin(ReadOnlyAdmin):
    list_display = ["app", "shard_num", "client", "told_at", "reason", "is_alarming"]
    list_display_links = ["shard_num"]
    list_filter = ["app", "client", "told_at"]
    list_select_related = ["app", "client"]
    search_fields = ["app__app_id", "client__name", "reason"]
    readonly_fields = ["is_alarming"]
    actions = ["stop_waiting"]

    def has_stop_waiting_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("changesource.change_awaitedreplica")

    @admin.display(description="alarms", boolean=True)
    def is_alarming(self, replica: AwaitedReplica) -> bool:
        """Whether `/readyz` is 503 because of it."""
        return replica.is_alarming

    @admin.action(description="Stop waiting for the selected replicas", permissions=["stop_waiting"])
    def stop_waiting(self, request: HttpRequest, replicas: QuerySet[AwaitedReplica]) -> None:
        """The rows stay: the next snapshot has to be newer than their watermarks."""
        stopped = [replica for replica in replicas if replica.is_alarming]
        for replica in stopped:
            self.log_change(request, replica, "No longer waited for.")
        replicas.update(is_fault=False)
        count = len(stopped)
        self.message_user(request, f"Stopped waiting for {count} replica{pluralize(count)}.", messages.SUCCESS)
