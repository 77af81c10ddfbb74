"""No page of admin does what the Content-Security-Policy forbids."""

from __future__ import annotations

import re
from contextlib import closing
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import LogIn
from tests.browser.pages import editor, open_app, open_table
from tests.browser.site import Site
from tests.browser.test_publishing import CITY

pytestmark = pytest.mark.timeout(300)

NOTE_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", event =>
    window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample} line ${event.lineNumber}`));
"""
KINDS = {
    "app", "table", "version", "client", "replica", "rowerrorrecord", "refusal", "runningsnapshot", "awaitedreplica",
    "publish", "versions", "source", "preview", "rules", "queries", "issue", "history", "delete", "user", "password_change",
}  # fmt: skip
"""What stands in the paths of pages that there must be."""
TABS = 6
"""How many pages wait at the same time for half a second in which they load nothing more."""


def violations(page: Page) -> list[str]:
    return [str(each) for each in page.evaluate("window.violations")]


def kind(url: str) -> str:
    """The same for pages that differ in numbers, names and order only."""
    return re.sub(r"\d+|shop_\w+", "_", urlsplit(url).path)


def test_each_page(log_in: LogIn, site: Site, app_id: str) -> None:
    """Every page that links lead to from the first one on, each kind once: with everything that it loads."""
    site.database.city.delete_many({})
    site.database.city.insert_one({"_id": "oslo", "name": "Oslo"})
    site.load(app_id, CITY, publish=True)
    site.manage("create_client", f"of {app_id}", "--app", app_id)
    page = log_in()
    page.context.add_init_script(NOTE_VIOLATIONS)
    found: dict[str, list[str]] = {}
    open_app(page, app_id)
    waiting = [page.url, urljoin(page.url, f"/admin/changesource/client/?q={app_id}"), urljoin(page.url, "/admin/")]
    tabs = [page, *(page.context.new_page() for _ in range(TABS - 1))]
    while waiting:
        opened: dict[str, Page] = {}
        while waiting and len(opened) < TABS:
            url = waiting.pop(0)
            if kind(url) in found or kind(url) in opened or re.search(r"/logout/|/jsi18n/|/export|\.json", url):
                continue
            opened[kind(url)] = tabs[len(opened)]
            opened[kind(url)].goto(url)
        for path, tab in opened.items():
            tab.wait_for_load_state("networkidle")
            found[path] = violations(tab)
            links = tab.eval_on_selector_all("a[href]", "links => links.map(link => link.href)")
            waiting += [link for link in links if link.startswith(f"{site.url}/admin/")]
    assert {path: each for path, each in found.items() if each} == {}
    parts = {part for path in found for part in path.split("/")}
    assert KINDS - parts == set()


def test_what_pages_do(log_in: LogIn, site: Site, app_id: str) -> None:
    """Editors with their tooltips, calendars, filters and pop-ups of admin."""
    site.load(app_id, CITY, publish=True)
    page = log_in()
    page.add_init_script(NOTE_VIOLATIONS)
    open_table(page, app_id, "city")
    editor(page, "Mapping").fill('{"filter": {"a": 1,,}}')
    page.locator(".cm-lintRange-error").hover()
    page.locator(".cm-tooltip").wait_for()
    assert violations(page) == []
    page.goto("/admin/auth/user/")
    page.get_by_role("link", name="ada").click()
    page.locator(".date-icon").first.click()
    page.locator(".clock-icon").first.click()
    page.locator(".selector-available").first.wait_for()
    assert violations(page) == []


def test_a_violation_is_noticed(chromium: Browser, site: Site) -> None:
    """What the tests above rely on: a style inside a page is not applied, and is told."""
    with closing(chromium.new_context(base_url=site.url)) as context:
        page = context.new_page()
        page.add_init_script(NOTE_VIOLATIONS)
        page.goto("/admin/login/")
        colour = page.evaluate(
            """() => {
                const probe = document.createElement("p");
                document.body.append(probe);
                probe.innerHTML = '<b style="color: rgb(1, 2, 3)">x</b>';
                return getComputedStyle(probe.firstChild).color;
            }"""
        )
        assert colour != "rgb(1, 2, 3)"
        page.wait_for_function("window.violations.length === 1")
        assert violations(page)[0].startswith("style-src")
