"""The page that checks the source of an app."""

# mypy: disallow-any-generics=False
# (Django's admin classes take no type arguments at run time.)

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from changesource.models import App
from changesource.operations.source_report import check_source, published_collections

URL_NAME = "changesource_app_check_source"


class SourceCheckPage(admin.ModelAdmin):
    """The address and the view, for the admin of apps to inherit."""

    def get_urls(self) -> list[URLPattern]:
        check = path("<path:object_id>/source/", self.admin_site.admin_view(self.source_view), name=URL_NAME)
        return [check, *super().get_urls()]

    def source_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What `check_source` says of the source, and of what this app has published from it, for who may view the app."""
        app = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, app):
            raise PermissionDenied
        if not isinstance(app, App):
            raise Http404(f"There is no app {object_id!r}.")
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": f"The source {app.source}",
            "opts": self.opts,
            "app": app,
            "check": check_source(app.source, published_collections(app.source, [app])),
        }
        return TemplateResponse(request, "admin/changesource/app/source.html", context)
