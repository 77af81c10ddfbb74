"""What people do on the pages of admin, in the words that they read there."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def open_app(page: Page, app_id: str) -> None:
    page.goto(f"/admin/changesource/app/?q={app_id}")
    page.get_by_role("link", name=app_id, exact=True).click()


def open_table(page: Page, app_id: str, table: str) -> None:
    """The only table of an app, by the link on the app's page."""
    open_app(page, app_id)
    page.locator(".inline-group").get_by_role("link", name="Change").first.click()
    expect(page.get_by_label("Name:", exact=True).first).to_have_value(table)


def editor(page: Page, label: str) -> Locator:
    """The JSON editor of the field with `label`, once the script has put it in the place of the plain field."""
    return page.get_by_role("textbox", name=label).and_(page.locator(".cm-content"))


def write(page: Page, label: str, text: str) -> None:
    """In place of what the JSON editor holds."""
    editor(page, label).fill(text)


def write_plainly(page: Page, label: str, text: str) -> None:
    """Where no script runs."""
    page.get_by_role("textbox", name=label).fill(text)


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()


def review(page: Page, app_id: str) -> None:
    """Open the difference page of an app."""
    open_app(page, app_id)
    page.get_by_role("link", name="Review and publish").first.click()
    expect(page.get_by_role("heading", name=f"Review and publish {app_id}")).to_be_visible()


def publish(page: Page) -> None:
    """What the difference page shows."""
    page.get_by_role("button", name="Publish", exact=True).click()


def expect_message(page: Page, text: str) -> None:
    expect(page.locator("ul.messagelist")).to_contain_text(text)


def expect_state(page: Page, text: str) -> None:
    """What the page says about draft and published version."""
    expect(page.get_by_role("complementary", name="Draft and published version")).to_contain_text(text)
