"""Permissions on the page of a table."""

from __future__ import annotations

import pytest

from changesource.models import App
from tests.admin.pages import TablePage, table_data, url
from tests.models.builders import build_app, build_table

pytestmark = pytest.mark.django_db

ID = {"name": "_id"}


@pytest.fixture
def app() -> App:
    return build_app()


def test_rules_are_kept_as_they_were_written(browser, app: App) -> None:
    text = '{"select": [\n  {"_id": "$auth.sub"}\n]}'
    assert TablePage(browser, table_data(app, ID, permissions=text)).saved
    table = app.tables.get(name="country")
    assert table.permissions == text
    assert "$auth.sub" in browser.get(url("table_change", table.pk)).content.decode()


@pytest.mark.parametrize("text", ["{", '{"select": [{"nope": 1}]}'])
def test_a_problem_of_rules_is_shown_at_their_input(browser, app: App, text: str) -> None:
    page = TablePage(browser, table_data(app, ID, permissions=text))
    assert list(page.errors) == ["permissions"]


def test_a_column_that_rules_of_another_table_ask_for_stays(browser, app: App) -> None:
    """The error names those rules."""
    country = build_table(app, "country", {"_id": {}, "size": {}})
    rule = '{"select": [{"$exists": {"relationship": "country", "where": {"size": "a"}}}]}'
    app.tables.filter(name="city").update(permissions=rule)
    connection = {"sourceField": ["name"], "destField": ["_id"], "destSchema": "country", "cardinality": "one"}
    App.objects.update(relationships={"city": {"country": [connection]}})
    key, size = country.columns.all()
    rows = [{"id": key.pk, "name": "_id"}, {"id": size.pk, "name": "size"}]
    assert TablePage(browser, table_data(app, *rows), country).saved
    page = TablePage(browser, table_data(app, rows[0], {**rows[1], "DELETE": "on"}), country)
    assert page.errors["__all__"] == [
        "city.permissions: select[0].$exists.where.size: The table 'country' has no column 'size'."
    ]
