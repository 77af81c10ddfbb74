"""zerosources/content_security_policy.py, and that our pages can live with it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from changesource.models import App

TEMPLATES = Path(__file__).resolve().parents[1] / "changesource" / "templates"


def test_nothing_inside_a_page_is_run_or_applied(client: Client) -> None:
    """On pages and endpoints alike."""
    header = client.get("/healthz")["Content-Security-Policy"]
    directives = dict(part.split(" ", 1) for part in header.split("; "))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == "'self'"
    assert directives["base-uri"] == directives["frame-ancestors"] == "'none'"
    assert "unsafe" not in header


@pytest.mark.django_db
def test_pages_have_it(client: Client) -> None:
    """Also the page for logging in."""
    assert "script-src 'self'" in client.get("/admin/login/")["Content-Security-Policy"]


@pytest.mark.parametrize(("debug", "status", "has_policy"), [(True, 404, False), (True, 200, True), (False, 404, True)])
def test_djangos_pages_for_debugging_have_none(
    client: Client, settings, debug: bool, status: int, has_policy: bool
) -> None:
    """They have scripts inside, and are for development."""
    settings.DEBUG = debug
    response = client.get("/healthz" if status == 200 else "/nowhere")
    assert response.status_code == status
    assert ("Content-Security-Policy" in response) == has_policy


class Inline(HTMLParser):
    """Finds what a page must not have inside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        self.found += [f"{tag} {name}" for name in names if name == "style" or name.startswith("on")]
        is_data = (names.get("type") or "") in ("application/json", "text/plain")
        if tag == "style" or (tag == "script" and "src" not in names and not is_data):
            self.found.append(tag)


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_templates_have_no_style_and_no_script_inside(path: Path) -> None:
    """A browser would ignore them."""
    page = Inline()
    page.feed(re.sub(r"{[%{#].*?[%}#]}", "", path.read_text()))
    assert page.found == []


@pytest.mark.django_db
def test_pages_have_no_style_and_no_script_inside(client: Client) -> None:
    """What Django admin adds included."""
    client.force_login(User.objects.create_superuser("ada"))
    app = App.objects.create(app_id="shop")
    for path in (
        "/admin/",
        "/admin/changesource/app/",
        f"/admin/changesource/app/{app.pk}/change/",
        "/admin/auth/user/add/",
    ):
        page = Inline()
        page.feed(client.get(path).content.decode())
        assert page.found == [], path
