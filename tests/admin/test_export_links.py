"""Downloads of schemas on the pages of apps and versions."""

import re
from html import unescape
from typing import Any

from changesource.models import App
from changesource.publishing.exports import EXPORT_FORMATS
from changesource.publishing.versions import begin_publish
from tests.admin.pages import url


def downloads(response: Any) -> list[str]:
    """The addresses of what a page offers to download."""
    return [unescape(address) for address in re.findall(r'<a href="([^"]*)" download>', response.content.decode())]


def addresses(version: str) -> list[str]:
    return [f"/api/apps/shop/schema?format={name}&version={version}" for name in EXPORT_FORMATS]


def test_an_unpublished_app_exports_its_draft_only(browser, app: App) -> None:
    """The page of an app offers its draft."""
    assert downloads(browser.get(url("app_change", app.pk))) == addresses("draft")


def test_a_published_app_exports_version_and_draft(browser, app: App) -> None:
    """It offers the version in force and the draft, and the downloads are there."""
    begin_publish(app)
    offered = downloads(browser.get(url("app_change", app.pk)))
    assert offered == addresses("1") + addresses("draft")
    assert [browser.get(address).status_code for address in offered] == [200] * len(offered)


def test_a_version_has_links_to_its_exports(browser, app: App) -> None:
    """The page of a version offers that."""
    version = begin_publish(app)
    assert downloads(browser.get(url("version_change", version.pk))) == addresses("1")


def test_a_new_app_has_no_exports(browser) -> None:
    """There is nothing to download of an app that is being created."""
    assert downloads(browser.get(url("app_add"))) == []
