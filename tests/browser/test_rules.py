"""Trying the rules of a table."""

from __future__ import annotations

import base64

from playwright.sync_api import expect

from tests.browser.conftest import LogIn, TakeScreenshot
from tests.browser.pages import open_table, save, write
from tests.browser.site import Site

ISSUE = {
    "issue": {
        "name": "issue",
        "columns": {"_id": {"type": "string"}, "owner": {"type": "string", "optional": True}},
        "primaryKey": ["_id"],
    }
}


def test_try_a_rule(log_in: LogIn, site: Site, app_id: str, screenshot: TakeScreenshot) -> None:
    """Claims decide which of the sampled rows are allowed, and for the others it is said why not; so do a token's."""
    site.database.issue.insert_many([{"_id": "1", "owner": "ada"}, {"_id": "2", "owner": "grace"}])
    site.load(app_id, ISSUE)
    page = log_in()
    open_table(page, app_id, "issue")
    write(page, "Permissions", '{"select": [{"owner": "$auth.sub"}]}')
    save(page)
    open_table(page, app_id, "issue")
    page.get_by_role("link", name="Try the rules").click()
    write(page, "Claims", '{"sub": "ada"}')
    page.get_by_role("button", name="Try").click()
    expect(page.get_by_role("heading", name="select: 1 of 2 rows")).to_be_visible()
    expect(page.get_by_role("article", name="Row 1")).to_contain_text("✓ allowed")
    refused = page.get_by_role("article", name="Row 2")
    expect(refused).to_contain_text("✗ refused")
    expect(refused).to_contain_text("owner is 'grace', $auth.sub is 'ada'")
    screenshot(page, "claims")
    payload = base64.urlsafe_b64encode(b'{"sub": "grace"}').decode().rstrip("=")
    page.get_by_label("JWT").fill(f"e30.{payload}.forged")
    page.get_by_role("button", name="Try").click()
    expect(page.get_by_role("article", name="Row 2")).to_contain_text("✓ allowed")
    expect(page.get_by_text("not verified").last).to_be_visible()
    expect(page.get_by_label("JWT")).to_have_value("")
