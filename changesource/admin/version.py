"""Published versions."""

from __future__ import annotations

import json

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from changesource.admin.export_links import links_of_version
from changesource.admin.read_only import ReadOnlyAdmin
from changesource.models import Version


@admin.register(Version)
class VersionAdmin(ReadOnlyAdmin):
    list_display = ["__str__", "app", "number", "table_names", "published_at", "published_by"]
    list_filter = ["app", "published_at"]
    list_select_related = ["app", "published_by"]
    search_fields = ["app__app_id"]
    date_hierarchy = "published_at"
    fields = ["app", "number", "published_at", "published_by", "reason", "exports", "definition_text"]

    @admin.display(description="tables")
    def table_names(self, version: Version) -> str:
        return ", ".join(table["name"] for table in version.definition["tables"])

    @admin.display(description="export")
    def exports(self, version: Version) -> SafeString:
        return links_of_version(version.app, str(version.number))

    @admin.display(description="definition")
    def definition_text(self, version: Version) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(version.definition, indent=2, ensure_ascii=False))
