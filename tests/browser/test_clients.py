"""A client from the first page to its token, as somebody makes one."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.browser.conftest import LogIn, TakeScreenshot
from tests.browser.pages import editor, expect_message, save, write
from tests.browser.site import Site

SHOP = {
    name: {
        "name": name,
        "columns": {"_id": {"type": "string"}, "tenantId": {"type": "string"}},
        "primaryKey": ["_id"],
    }
    for name in ("order", "item", "audit")
}
TENANTS = '{"order": {"tenantId": "$client.tenant"}}'
TOKEN = re.compile(r"[\w-]{43}")


def publish_with_filter_columns(site: Site, app_id: str) -> None:
    site.load(app_id, SHOP)
    statement = (
        "from changesource.models import Table; "
        f"Table.objects.filter(app__app_id='{app_id}').update(filter_columns=['tenantId'])"
    )
    site.manage("shell", "--verbosity", "0", "-c", statement)
    site.manage("publish", app_id)


def add_client(page: Page, name: str, app_id: str) -> None:
    """Fill in a new client that may read two tables of an app, one of them filtered."""
    page.goto("/admin/changesource/client/add/")
    page.get_by_label("Name:").fill(name)
    write(page, "Attributes", '{"tenant": "acme"}')
    grant = page.locator("#grants-0")
    grant.get_by_label("All tables").uncheck()
    expect(grant.get_by_label("order", exact=True).locator("visible=true")).to_have_count(0)
    grant.get_by_label("App:").select_option(app_id)
    for table in ("order", "item"):
        grant.get_by_label(table, exact=True).locator("visible=true").check()
    write(page, "Row filters", TENANTS)


def test_client_and_its_token(log_in: LogIn, site: Site, app_id: str, screenshot: TakeScreenshot) -> None:
    """A client gets a grant with a row filter, and a token that is shown once; another is issued, the first revoked."""
    publish_with_filter_columns(site, app_id)
    page = log_in()
    name = f"acme {app_id}"
    add_client(page, name, app_id)
    screenshot(page, "new")
    save(page)
    expect_message(page, "was added successfully")
    page.get_by_label("Label:").fill("east")
    screenshot(page, "issue")
    page.get_by_role("button", name="Issue a token").click()
    expect(page.get_by_text("Copy it now.")).to_be_visible()
    token = page.locator("#token").inner_text()
    assert TOKEN.fullmatch(token)
    assert token not in page.url
    screenshot(page, "token")
    page.reload()
    expect_message(page, "Nothing was issued")
    assert token not in page.content()
    page.go_back()
    assert token not in page.content()

    page.goto(f"/admin/changesource/client/?q={app_id}")
    page.get_by_role("link", name=name, exact=True).click()
    grant = page.locator("#grants-0")
    expect(grant.get_by_label("order", exact=True)).to_be_checked()
    expect(grant.get_by_label("audit", exact=True)).not_to_be_checked()
    expect(editor(page, "Row filters")).to_contain_text("$client.tenant")
    assert token not in page.content()
    screenshot(page, "client")
    page.get_by_role("link", name="Issue a token").click()
    page.get_by_role("button", name="Issue a token").click()
    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("link", name="Revoke all but the newest").click()
    screenshot(page, "revoke")
    page.get_by_role("button", name="Revoke").click()
    expect_message(page, "Revoked credential east.")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("row", name="credential east changed")).to_contain_text("ada")
    screenshot(page, "history")


def test_wrong_filter(log_in: LogIn, site: Site, app_id: str, screenshot: TakeScreenshot) -> None:
    """A filter that does not fit what is published is an error in the editor of a grant that was added on the page."""
    publish_with_filter_columns(site, app_id)
    page = log_in(scheme="dark")
    page.goto("/admin/changesource/client/add/")
    page.get_by_label("Name:").fill(f"bad {app_id}")
    page.get_by_role("button", name="Add another Grant").click()
    grant = page.locator("#grants-1")
    grant.get_by_label("App:").select_option(app_id)
    grant.get_by_role("textbox", name="Row filters").fill('{"order": {"tenantID": "x"}}')
    save(page)
    expect(page.locator(".errorlist").filter(has_text="order.tenantID")).to_be_visible()
    screenshot(page, "error")
