"""Trying the queries of an app."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import LogIn, TakeScreenshot
from tests.browser.pages import open_app, write, write_plainly
from tests.browser.site import Site

COLUMN = {"type": "string", "optional": True}


def table(name: str, *columns: str) -> dict[str, Any]:
    return {
        "name": name,
        "columns": {"_id": {"type": "string"}, **dict.fromkeys(columns, COLUMN)},
        "primaryKey": ["_id"],
    }


TABLES = {"room": table("room", "kind", "owner"), "message": table("message", "roomId", "text")}
RELATIONSHIPS = {
    "room": {
        "messages": [{"sourceField": ["_id"], "destField": ["roomId"], "destSchema": "message", "cardinality": "many"}]
    }
}
QUERIES = {
    "rooms.byKind": {
        "args": {"kind": "string"},
        "table": "room",
        "where": {"kind": "$args.kind"},
        "related": [{"relationship": "messages"}],
    }
}


@pytest.fixture
def page(log_in: LogIn, site: Site, app_id: str) -> Page:
    """Ada's; there is an app with rooms, and a query of them."""
    for collection in (site.database.room, site.database.message):
        collection.delete_many({})
    site.database.room.insert_many(
        [{"_id": "r1", "kind": "lounge", "owner": "ada"}, {"_id": "r2", "kind": "lounge", "owner": "grace"}]
    )
    site.database.message.insert_one({"_id": "m1", "roomId": "r1", "text": "Hello " * 40})
    rules = {"room": {"select": [{"owner": "$auth.sub"}]}}
    site.load(app_id, TABLES, RELATIONSHIPS, permissions=rules, queries=QUERIES)
    return log_in()


def try_query(page: Page, arguments: str, write: Callable[[Page, str, str], None] = write) -> None:
    write(page, "Arguments", arguments)
    write(page, "Claims", '{"sub": "ada"}')
    page.get_by_role("button", name="Try").click()


def test_try_a_query(page: Page, log_in: LogIn, app_id: str, screenshot: TakeScreenshot) -> None:
    """The page shows the AST, the rows, and why others are hidden; or the error that the client gets. It needs no script, and
    fits the screen of a telephone."""
    open_app(page, app_id)
    page.get_by_role("link", name="Try queries").click()
    page.get_by_role("link", name="rooms.byKind").click()
    expect(page.get_by_label("Query:")).to_have_value("rooms.byKind")
    try_query(page, '{"kind": "lounge"}')
    expect(page.get_by_role("region", name="Text of the AST")).to_contain_text('"value": "lounge"')
    expect(page.get_by_role("article", name="room 1")).to_contain_text("✓ found")
    hidden = page.get_by_role("article", name="room 2")
    expect(hidden).to_contain_text("owner is 'grace', $auth.sub is 'ada'")
    expect(page.get_by_role("article", name="message 1")).to_contain_text("no select rule")
    screenshot(page, "found")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "narrow")
    try_query(page, "{}")
    expect(page.get_by_text("Validation failed for query rooms.byKind")).to_be_visible()
    address = page.url
    plain = log_in(scripts=False)
    plain.goto(address)
    plain.get_by_label("Query:").fill("rooms.byKind")
    try_query(plain, '{"kind": "lounge"}', write_plainly)
    expect(plain.get_by_role("article", name="room 2")).to_contain_text("✗ hidden")
