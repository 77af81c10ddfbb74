"""From a table to a version, from a version to the next, and back."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import LogIn, TakeScreenshot
from tests.browser.pages import (
    editor,
    expect_message,
    expect_state,
    open_app,
    open_table,
    publish,
    review,
    save,
    write,
)
from tests.browser.site import Site

CITY = {
    "city": {
        "name": "city",
        "columns": {
            "_id": {"type": "string"},
            "name": {"type": "string", "optional": True},
            "population": {"type": "number", "optional": True},
        },
        "primaryKey": ["_id"],
    }
}


@pytest.fixture
def published(site: Site, app_id: str) -> str:
    """The id of an app whose version 1 streams: the table `city`, with three documents."""
    site.database.city.delete_many({})
    site.database.city.insert_many([{"_id": name, "name": name.title()} for name in ("oslo", "turin", "porto")])
    site.load(app_id, CITY, publish=True)
    return app_id


def drop_population(page: Page, app_id: str) -> None:
    open_table(page, app_id, "city")
    page.locator("#id_columns-2-DELETE").check()
    save(page)
    expect_message(page, "was changed successfully")


def test_from_a_table_to_the_first_version(log_in: LogIn, app_id: str, screenshot: TakeScreenshot) -> None:
    """A table is made; what is wrong with its mapping is shown at its place; mended, it is reviewed and published."""
    page = log_in()
    page.goto("/admin/changesource/app/add/")
    page.get_by_label("App id").fill(app_id)
    page.get_by_role("button", name="Save and continue editing").click()
    expect_state(page, "It has never been published; nothing streams.")
    page.get_by_role("link", name="Add a table").click()
    page.locator("#id_name").fill("city")
    write(page, "Mapping", '{\n  "filter": {"population": {"$gtt": 1000}}\n}')
    page.get_by_text("Add another Column").click()
    page.locator("#id_columns-1-name").fill("name")
    save(page)
    expect(page.locator(".field-mapping .errorlist")).to_contain_text("filter")
    expect(page.locator(".cm-lintRange-error")).to_have_text('"$gtt"')
    screenshot(page, "1-error-at-its-place")
    write(page, "Mapping", '{\n  "filter": {"population": {"$gt": 1000}}\n}')
    page.locator("#id_columns-1-optional").check()
    save(page)
    expect_message(page, "was added successfully")
    review(page, app_id)
    expect(page.get_by_text("Nothing streams yet")).to_be_visible()
    screenshot(page, "2-first-version")
    publish(page)
    expect_message(page, f"Published version 1 of {app_id}.")
    expect_state(page, "The draft is the same.")
    screenshot(page, "3-published")


def test_next_version(log_in: LogIn, site: Site, published: str, screenshot: TakeScreenshot) -> None:
    """The page says what an edit changes, what clients notice and how much is read; publishing it makes version 2."""
    page = log_in()
    open_table(page, published, "city")
    expect_state(page, "Version 1 streams.")
    page.locator("#id_columns-1-type").select_option("json")
    page.locator("#id_columns-2-DELETE").check()
    write(page, "Mapping", '{"filter": {"name": {"$ne": "Oslo"}}}')
    save(page)
    review(page, published)
    expect_state(page, "The draft differs from version 1.")
    table = page.get_by_role("article", name="city")
    expect(table).to_contain_text("Rebuilt: dropped and created again")
    expect(table).to_contain_text("changed name: type string → json")
    expect(table).to_contain_text("dropped population")
    expect(table.get_by_role("region", name="Difference of the mapping of city")).to_contain_text("+ {")
    notices = page.get_by_role("region", name="What clients will notice")
    expect(notices).to_contain_text("Column city.name becomes json; column city.population is dropped.")
    expect(notices).to_contain_text("SchemaVersionNotSupported")
    expect(page.get_by_role("row", name="city city 3")).to_be_visible()
    screenshot(page, "difference")
    publish(page)
    expect_message(page, f"Published version 2 of {published}.")


def test_history(log_in: LogIn, published: str, screenshot: TakeScreenshot) -> None:
    """Versions are listed with their authors, any two compared, and an old one put into the draft and published."""
    page = log_in()
    drop_population(page, published)
    review(page, published)
    publish(page)
    expect_message(page, "Published version 2")
    page.get_by_role("link", name="Version history").click()
    expect(page.get_by_role("row", name="Version 2 streams")).to_contain_text("ada")
    expect(page.get_by_role("row", name="Version 1 earlier")).to_contain_text("a command")
    screenshot(page, "1-versions")
    page.get_by_label("From version").select_option("1")
    page.get_by_label("to version").select_option("2")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("article", name="city")).to_contain_text("dropped population")
    expect(page.get_by_role("button", name="Publish", exact=True)).to_have_count(0)
    screenshot(page, "2-compare")
    page.go_back()
    page.get_by_role("link", name="Publish version 1 again").click()
    expect(page.get_by_text("Nothing is lost:")).to_be_visible()
    screenshot(page, "3-again")
    page.get_by_role("button", name="Put version 1 into the draft").click()
    expect_message(page, "is now the same as version 1")
    expect(page.get_by_role("article", name="city")).to_contain_text("added population")
    publish(page)
    expect_message(page, "Published version 3")


def test_draft_that_an_old_version_replaces(log_in: LogIn, published: str, screenshot: TakeScreenshot) -> None:
    """Who puts an old version into a draft that was not published is told that the draft is lost."""
    page = log_in()
    drop_population(page, published)
    open_app(page, published)
    page.get_by_role("link", name="Version history").click()
    page.get_by_role("link", name="Discard the draft for version 1").click()
    expect(page.get_by_text("The present draft will be lost.")).to_be_visible()
    screenshot(page, "warning")


def test_two_browsers_at_once(log_in: LogIn, published: str, screenshot: TakeScreenshot) -> None:
    """Of two people who look at the same difference one publishes; the other is told so and sees what is left."""
    ada, grace = log_in("ada"), log_in("grace")
    drop_population(ada, published)
    review(ada, published)
    review(grace, published)
    publish(ada)
    expect_message(ada, "Published version 2")
    publish(grace)
    expect_message(grace, "Version 2, published by ada, streams.")
    expect(grace.get_by_text("There is no difference.")).to_be_visible()
    screenshot(grace, "too-late")


def test_draft_that_changes_under_review(log_in: LogIn, published: str) -> None:
    """Nothing is published that was not shown: an edit after the page was opened brings the new difference."""
    ada, grace = log_in("ada"), log_in("grace")
    drop_population(ada, published)
    review(ada, published)
    open_table(grace, published, "city")
    write(grace, "Mapping", '{"filter": {"name": "Oslo"}}')
    save(grace)
    publish(ada)
    expect_message(ada, "was published, because the draft, or what streams, is not what you were shown")
    expect(ada.get_by_role("article", name="city")).to_contain_text("Reloaded")
    expect_state(ada, "Version 1 streams.")


def test_without_a_marker(log_in: LogIn, site: Site, published: str) -> None:
    """For a source that may not be written to there is a choice, with what it costs; no marker is written then."""
    page = log_in()
    drop_population(page, published)
    review(page, published)
    page.get_by_label("Publish without a marker").check()
    expect(page.get_by_text("is then told reset-required")).to_be_visible()
    publish(page)
    expect_message(page, "Published version 2")
    assert site.database.zero_sources_markers.count_documents({"_id": f"publish:{published}"}) == 0


def test_problems_lead_to_their_places(log_in: LogIn, site: Site, app_id: str, screenshot: TakeScreenshot) -> None:
    """An app that cannot be published shows why, without a button; each problem is a link to the input to mend."""
    page = log_in()
    page.goto("/admin/changesource/app/add/")
    page.get_by_label("App id").fill(app_id)
    page.get_by_role("button", name="Save and continue editing").click()
    review(page, app_id)
    expect(page.get_by_text("Add at least one table.")).to_be_visible()
    expect(page.get_by_role("button", name="Publish", exact=True)).to_have_count(0)
    screenshot(page, "problems")


def test_by_keyboard(log_in: LogIn, published: str) -> None:
    """A mapping is written, left with Tab, saved, reviewed and published without a mouse."""
    page = log_in()
    open_table(page, published, "city")
    page.locator("#id_collection").focus()
    page.keyboard.press("Tab")
    expect(editor(page, "Mapping")).to_be_focused()
    page.keyboard.type('{"filter": {"name": "Oslo"}}')
    page.keyboard.press("Tab")
    expect(editor(page, "Mapping")).not_to_be_focused()
    expect(editor(page, "Mapping")).to_have_text('{"filter": {"name": "Oslo"}}')
    tab_to(page, page.locator("#id_primary_key"))
    page.keyboard.press("Enter")
    expect_message(page, "was changed successfully")
    review(page, published)
    tab_to(page, page.get_by_label("Publish without a marker"))
    tab_to(page, page.get_by_role("button", name="Publish", exact=True))
    page.keyboard.press("Enter")
    expect_message(page, "Published version 2")


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until `target` has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab never reaches {target}.")


def test_dark(log_in: LogIn, published: str, screenshot: TakeScreenshot) -> None:
    """In dark mode text stands on a dark ground, in the editor too."""
    page = log_in(scheme="dark")
    open_table(page, published, "city")
    write(page, "Mapping", '{\n  "filter": {"population": {"$gt": 1000}, "capital": true, "name": {"$ne": null}}\n}')
    ground = editor(page, "Mapping").evaluate(
        "element => getComputedStyle(element.closest('.cm-editor')).backgroundColor"
    )
    assert max(int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")) < 64
    screenshot(page, "1-table")
    save(page)
    review(page, published)
    screenshot(page, "2-difference")
