"""The history of one client, and of all clients, with the values before and after each change."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from changesource.admin.object_pages import ObjectPages
from changesource.models import Client
from changesource.models.queries.client_changes import MAX_CHANGES, newest_changes


class ClientHistoryPages(ObjectPages):
    """Viewing clients is enough. Django's own log of the client is not shown: it says less about
    the same changes."""

    def get_urls(self) -> list[URLPattern]:
        changes = path("changes/", self.admin_site.admin_view(self.changes_view), name="changesource_client_changes")
        return [changes, *super().get_urls()]

    def changes_view(self, request: HttpRequest) -> HttpResponse:
        """The changes of all clients, including deleted ones."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return self._history_page(request, None, "Changes of clients")

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        client = self.viewed_object(request, object_id)
        return self._history_page(request, client, f"History of {client}")

    def _history_page(self, request: HttpRequest, client: Client | None, title: str) -> HttpResponse:
        changes = newest_changes(client)
        context = {"title": title, "client": client, "changes": changes, "is_cut": len(changes) == MAX_CHANGES}
        return self.page(request, "history", context)
