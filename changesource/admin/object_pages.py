"""Pages about one object, beside those that Django has."""

# mypy: disallow-any-generics=False
# (Django's admin classes take no type arguments at run time.)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path


class ObjectPages(admin.ModelAdmin):
    """What such pages have in common: their addresses, the object with the permission to view it,
    and the context."""

    def page_url(self, name: str, route: str, view: Callable[..., HttpResponse]) -> URLPattern:
        """`view` at `route` below the object's address, for `get_urls`. `view` is called with the
        request and `object_id`."""
        return path(
            f"<path:object_id>/{route}",
            self.admin_site.admin_view(view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_{name}",
        )

    def viewed_object(self, request: HttpRequest, object_id: str) -> Any:
        """The object with this id in an address. Raises `PermissionDenied` and `Http404`."""
        found = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, found):
            raise PermissionDenied
        if found is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id!r}.")
        return found

    def page(self, request: HttpRequest, name: str, context: dict[str, Any]) -> TemplateResponse:
        """The template `name` with `context`, which has a `title`."""
        context = {**self.admin_site.each_context(request), "opts": self.opts, **context}
        return TemplateResponse(request, f"admin/changesource/{self.opts.model_name}/{name}.html", context)
