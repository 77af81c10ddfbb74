"""The history of one client, and of all, with what was and what is."""

# mypy: disallow-any-generics=False
# (Django's admin classes take no type arguments at run time.)

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from changesource.models import Client
from changesource.models.client_changes import MAX_CHANGES, newest_changes


class ClientHistoryPages(admin.ModelAdmin):
    """Viewing clients is enough. Django's own log of the client is not shown: it says less of the same."""

    def get_urls(self) -> list[URLPattern]:
        changes = path("changes/", self.admin_site.admin_view(self.changes_view), name="changesource_client_changes")
        return [changes, *super().get_urls()]

    def changes_view(self, request: HttpRequest) -> HttpResponse:
        """What was changed of any client, also of deleted ones."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        return self._history_page(request, None, "Changes of clients")

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        client = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, client):
            raise PermissionDenied
        if client is None:
            raise Http404(f"There is no client {object_id!r}.")
        return self._history_page(request, cast(Client, client), f"History of {client}")

    def _history_page(self, request: HttpRequest, client: Client | None, title: str) -> HttpResponse:
        changes = newest_changes(client)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "client": client,
            "changes": changes,
            "is_cut": len(changes) == MAX_CHANGES,
        }
        return TemplateResponse(request, "admin/changesource/client/history.html", context)
