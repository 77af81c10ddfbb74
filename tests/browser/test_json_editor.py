"""The editor of mappings and relationships."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.browser.conftest import LogIn, TakeScreenshot
from tests.browser.pages import editor, expect_message, open_app, save, write

ADD_TABLE = "/admin/changesource/table/add/"
LINTER_MS = 2_000
"""After which the editor has looked."""


def test_syntax_error_is_underlined_while_typing(log_in: LogIn, screenshot: TakeScreenshot) -> None:
    """What is no JSON is marked before anything is sent."""
    page = log_in()
    page.goto(ADD_TABLE)
    write(page, "Mapping", '{\n  "filter": {"a": 1,, "b": 2}\n}')
    expect(page.locator(".cm-lintRange-error")).to_have_text(",")
    page.locator(".cm-lintRange-error").hover()
    expect(page.locator(".cm-tooltip")).to_contain_text("This is not JSON")
    screenshot(page, "underlined")


def test_error_with_line_and_column(log_in: LogIn) -> None:
    """The line and column in a message of the form are underlined after it was sent."""
    page = log_in()
    page.goto("/admin/changesource/app/add/")
    write(page, "Relationships", '{\n  "city": {},\n  "city": }\n}')
    save(page)
    expect(page.locator(".field-relationships .errorlist")).to_be_visible()
    expect(page.locator(".cm-lintRange-error")).to_have_text("}")


def test_error_of_the_form_stays(log_in: LogIn) -> None:
    """Until the text is another one: what the editor looks for by itself a moment later is something else."""
    page = log_in()
    page.clock.install()
    page.goto(ADD_TABLE)
    page.locator("#id_name").fill("city")
    write(page, "Mapping", '{"filter": {"a": {"$gtt": 1}}}')
    save(page)
    expect(page.locator(".field-mapping .errorlist")).to_be_visible()
    page.clock.fast_forward(LINTER_MS)
    expect(page.locator(".cm-lintRange-error")).to_have_text('"$gtt"')
    write(page, "Mapping", '{"filter": {"a": {"$gt": 1}}}')
    page.clock.fast_forward(LINTER_MS)
    expect(page.locator(".cm-lintRange-error")).to_have_count(0)


def test_error_deep_in_a_pipeline(log_in: LogIn) -> None:
    """A message that begins with a place underlines the name of the value there, not one that looks like it."""
    page = log_in()
    page.goto(ADD_TABLE)
    page.locator("#id_name").fill("city")
    write(
        page,
        "Mapping",
        '{"pipeline": [{"$match": {"$nor": 0}}, {"$match": {"a.b": {"$in": 1}}}]}'.replace('{"$nor": 0}', "{}"),
    )
    save(page)
    message = page.locator(".field-mapping .errorlist")
    expect(message).to_contain_text("pipeline[1].$match")
    expect(page.locator(".cm-lintRange-error")).to_have_count(1)


def test_coloured(log_in: LogIn) -> None:
    """Names, texts, numbers and words each have a colour of their own."""
    page = log_in()
    page.goto(ADD_TABLE)
    write(page, "Mapping", '{"a": "b", "c": 1, "d": true}')
    colours = {
        page.locator(".cm-line span", has_text=re.compile(f"^{text}$")).evaluate("span => getComputedStyle(span).color")
        for text in ('"a"', '"b"', "1", "true")
    }
    assert len(colours) == 4


def test_without_scripts(log_in: LogIn, app_id: str) -> None:
    """Without JavaScript it is a text area that saves the same."""
    page = log_in(scripts=False)
    page.goto("/admin/changesource/app/add/")
    page.get_by_label("App id").fill(app_id)
    page.get_by_label("Relationships").fill('{"city": {}}')
    save(page)
    expect_message(page, "was added successfully")
    open_app(page, app_id)
    expect(page.get_by_label("Relationships")).to_have_value('{\n  "city": {}\n}')


def test_content_security_policy(log_in: LogIn) -> None:
    """The editor needs no inline script and no inline style."""
    page = log_in()
    response = page.goto("/admin/changesource/app/add/")
    assert response is not None
    assert "style-src 'self';" in response.headers["content-security-policy"]
    write(page, "Relationships", '{"a": 1}')
    background = editor(page, "Relationships").evaluate("element => getComputedStyle(element).whiteSpace")
    assert background in ("break-spaces", "pre-wrap")  # CodeMirror's own style sheet is there
