"""Links to the exports of an app."""

from __future__ import annotations

from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from changesource.models import App, Version
from changesource.publishing.exported import DRAFT
from changesource.publishing.exports import EXPORT_FORMATS


def links_of_app(app: App, *, with_draft: bool) -> SafeString:
    """Links to download the version in force and, `with_draft`, the draft."""
    newest = Version.objects.newest(app)
    states = [(f"version {newest.number}", str(newest.number))] if newest else []
    states += [("draft", DRAFT)] if with_draft else []
    return format_html_join(
        SafeString("<br>"),
        "{}: {}",
        ((title, links_of_version(app, version)) for title, version in states),
    )


def links_of_version(app: App, version: str) -> SafeString:
    """Links to download one version, or the draft, in each format."""
    address = reverse("schema", args=[app.app_id])
    return format_html_join(
        " · ",
        '<a href="{}?{}" download>{}</a>',
        (
            (address, urlencode({"format": name, "version": version}), export_format.title)
            for name, export_format in EXPORT_FORMATS.items()
        ),
    )
