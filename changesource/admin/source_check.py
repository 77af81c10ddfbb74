"""The page that checks the source of an app."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from changesource.admin.object_pages import ObjectPages
from changesource.operations.source_report import check_source, published_collections


class SourceCheckPage(ObjectPages):
    """For the admin of apps to inherit. Viewing an app is enough to check its source."""

    def get_urls(self) -> list[URLPattern]:
        return [self.page_url("check_source", "source/", self.source_view), *super().get_urls()]

    def source_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What `manage.py check_source` reports on the source and on what this app has published
        from it."""
        app = self.viewed_object(request, object_id)
        check = check_source(app.source, published_collections(app.source, [app]))
        return self.page(request, "source", {"title": f"The source {app.source}", "app": app, "check": check})
