"""The page of a table: what is wrong is said at its input."""

from typing import Any

import pytest

from changesource.models import App, Column, Table
from changesource.models.draft import draft_definition
from tests.admin.pages import TablePage, table_data, url
from tests.models.builders import build_table

ID = {"name": "_id"}


def test_a_new_table_is_saved(browser, app: App) -> None:
    """A table with its columns is saved into the draft."""
    page = TablePage(browser, table_data(app, ID, {"name": "size", "type": "number", "optional": "on"}))
    assert page.errors == {}
    table = draft_definition(app).tables[1]
    assert table.name == "country"
    assert [(column.name, column.type, column.optional) for column in table.columns] == [
        ("_id", "string", False),
        ("size", "number", True),
    ]


def test_a_mapping_is_saved_as_written(browser, app: App) -> None:
    """A mapping is saved as it was written, and the list says that there is one."""
    mapping = '{"filter":\r\n  {"size": {"$gt": 0}}}'
    assert TablePage(browser, table_data(app, ID, mapping=mapping)).saved
    table = Table.objects.get(name="country")
    assert table.mapping == mapping
    assert draft_definition(app).tables[1].mapping == '{"filter":{"size":{"$gt":0}}}'
    assert browser.get(url("table_changelist")).content.decode().count('alt="True"') == 1


def test_filter_columns_are_separated_by_commas(browser, app: App) -> None:
    """They are written with commas, and shown so; a table has none by default."""
    size = {"name": "size", "type": "number"}
    assert TablePage(browser, table_data(app, ID, size)).saved
    table = Table.objects.get(name="country")
    assert table.filter_columns == []
    rows = [{"id": column.pk, "name": column.name} for column in table.columns.all()]
    assert TablePage(browser, table_data(app, *rows, filter_columns="size ,_id,"), table).saved
    assert draft_definition(app).tables[1].filter_columns == ("size", "_id")
    assert 'value="size, _id"' in browser.get(url("table_change", table.pk)).content.decode()


def test_a_json_column_cannot_be_a_filter_column(browser, app: App) -> None:
    """Nothing can be asked of it, which is said at the input."""
    page = TablePage(browser, table_data(app, ID, {"name": "size", "type": "json"}, filter_columns="size"))
    assert page.errors.keys() == {"filter_columns"}


def test_a_filter_column_cannot_be_deleted(browser, app: App) -> None:
    """A column that row filters may ask for stays until they may not."""
    table = build_table(app, "country", {"_id": {}, "size": {}}, filter_columns=["size"])
    key, size = table.columns.all()
    rows = [{"id": key.pk, "name": "_id"}, {"id": size.pk, "name": "size", "DELETE": "on"}]
    page = TablePage(browser, table_data(app, *rows, filter_columns="size"), table)
    assert page.errors.keys() == {"filter_columns"}
    assert TablePage(browser, table_data(app, *rows, filter_columns=""), table).saved


def test_indexes_are_written_on_lines(browser, app: App) -> None:
    """One is written on each line, and shown so; a table has none by default."""
    size = {"name": "size", "type": "number"}
    assert TablePage(browser, table_data(app, ID, size)).saved
    table = Table.objects.get(name="country")
    assert table.indexes == []
    rows = [{"id": column.pk, "name": column.name} for column in table.columns.all()]
    typed = "size ,_id,\r\n\r\nsize"
    assert TablePage(browser, table_data(app, *rows, indexes=typed), table).saved
    assert draft_definition(app).tables[1].indexes == (("size", "_id"), ("size",))
    assert "\nsize, _id\nsize</textarea>" in browser.get(url("table_change", table.pk)).content.decode()


def test_the_page_proposes_indexes(browser, app: App) -> None:
    """The page of a table shows which are of use, and why; none for the page of a table that is not there yet."""
    table = build_table(app, "country", {"_id": {}, "<b>": {}}, permissions='{"select": [{"<b>": "$auth.sub"}]}')
    page = browser.get(url("table_change", table.pk)).content.decode()
    assert "<code>&lt;b&gt;</code> – permissions of country, select[0]" in page
    table.indexes = [["<b>"]]
    table.save()
    assert "look up has an index" in browser.get(url("table_change", table.pk)).content.decode()
    assert "proposed" not in browser.get(url("table_add")).content.decode()


def test_a_problem_of_a_mapping_names_its_place(browser, app: App) -> None:
    """What is wrong with a mapping is said at its input, with the place, and what was typed stays."""
    typed = '{"pipeline": [{"$match": {}}, {"$group": {}}]}'
    page = TablePage(browser, table_data(app, ID, mapping=typed))
    assert page.errors["mapping"][0].startswith("pipeline[1]: $group is refused")
    assert "&quot;$group&quot;: {}" in page.text


def test_a_mapping_on_one_line_is_shown_indented(browser, app: App) -> None:
    """One that was loaded in one line is shown for people; what is no JSON as it is."""
    table = app.tables.get()
    for stored, shown in [('{"filter":{"a":1}}', '{\n  "filter": {\n    "a": 1\n  }\n}'), ("{", "{"), ("", "")]:
        Table.objects.update(mapping=stored)
        form = browser.get(url("table_change", table.pk)).context["adminform"].form
        field = form["mapping"]
        assert field.field.prepare_value(field.value()) == shown


def test_a_new_page_suggests_the_key(browser, app: App) -> None:
    """The page of a new table begins with a column for `_id`."""
    response = browser.get(url("table_add"), {"app": app.pk})
    [columns] = response.context["inline_admin_formsets"]
    assert columns.formset.forms[0]["name"].value() == "_id"
    assert response.context["adminform"].form["primary_key"].value() == "_id"


def test_the_suggested_key_is_saved(browser, app: App) -> None:
    """The suggested column is saved when it was left as it is."""
    assert TablePage(browser, table_data(app, ID)).saved
    assert Table.objects.get(name="country").columns.get().name == "_id"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "my table"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": "city"}, "name"),
        ({"server_name": "_zero_x"}, "server_name"),
        ({"server_name": "CITY"}, "server_name"),
        ({"collection": "system.views"}, "collection"),
        ({"collection": "a$b"}, "collection"),
        ({"collection": "a\u202eb"}, "collection"),
        ({"collection": "zero_sources_markers"}, "collection"),
        ({"primary_key": ""}, "primary_key"),
        ({"primary_key": "nope"}, "primary_key"),
        ({"primary_key": "_id, _id"}, "primary_key"),
        ({"filter_columns": "nope"}, "filter_columns"),
        ({"filter_columns": "size, size"}, "filter_columns"),
        ({"indexes": "nope"}, "indexes"),
        ({"indexes": "size\nsize"}, "indexes"),
        ({"indexes": "_id"}, "indexes"),
        ({"mapping": "{"}, "mapping"),
        ({"mapping": '{"filter": {"a": {"$near": 1}}}'}, "mapping"),
        ({"mapping": '{"projection": {"name": 1}}'}, "columns-1-name"),
        ({"mapping": '{"projection": {"size": {"$toUpper": "$a"}}}'}, "columns-1-type"),
        ({"position": "x"}, "position"),
        ({"app": ""}, "app"),
        ({"app": "999"}, "app"),
    ],
)
def test_a_bad_table_is_refused(browser, app: App, changes: dict[str, Any], field: str) -> None:
    """What is wrong with the table is said at its input, and nothing is saved."""
    page = TablePage(browser, table_data(app, ID, {"name": "size", "type": "number"}, **changes))
    assert field in page.errors
    assert list(Table.objects.all()) == [app.tables.get()]


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ({"name": "my column"}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": "", "field": "x"}, "name"),
        ({"name": "_id"}, "name"),
        ({"name": "n", "server_name": "_0_version"}, "server_name"),
        ({"name": "n", "server_name": "my column"}, "server_name"),
        ({"name": "n", "field": "a.b"}, "field"),
        ({"name": "n", "field": "$a"}, "field"),
        ({"name": "n", "type": "text"}, "type"),
        ({"name": "n", "position": "-1"}, "position"),
    ],
)
def test_a_bad_column_is_refused(browser, app: App, column: dict[str, Any], field: str) -> None:
    """What is wrong with a column is said at its input, and nothing is saved."""
    page = TablePage(browser, table_data(app, ID, column))
    assert f"columns-1-{field}" in page.errors
    assert not Table.objects.filter(name="country").exists()


def test_one_mistake_gets_one_message(browser, app: App) -> None:
    """Names that were left empty, and follow the wrong one, are not complained about."""
    page = TablePage(browser, table_data(app, ID, {"name": "my column"}, name="1st"))
    assert {field: len(messages) for field, messages in page.errors.items()} == {"name": 1, "columns-1-name": 1}


def test_a_message_is_beside_its_input(browser, app: App) -> None:
    """The page that comes back holds the message and what was typed."""
    page = TablePage(browser, table_data(app, ID, {"name": "my column"}))
    assert "Begin with a letter or underscore" in page.text
    assert 'value="my column"' in page.text


def test_an_optional_key_is_refused(browser, app: App) -> None:
    """A problem between table and column stands where it has to be changed."""
    page = TablePage(browser, table_data(app, {"name": "_id", "optional": "on"}))
    assert list(page.errors) == ["columns-0-optional"]


def test_a_table_without_columns_is_refused(browser, app: App) -> None:
    """A table without a column has no key."""
    assert "primary_key" in TablePage(browser, table_data(app)).errors


def test_a_deleted_column_is_not_checked(browser, app: App) -> None:
    """A column that is being deleted is not looked at, and the key needs one that stays."""
    table = build_table(app, "country", {"_id": {}, "size": {}})
    key, size = table.columns.all()
    Column.objects.filter(pk=size.pk).update(name="my column")
    rows = [{"id": key.pk, "name": "_id"}, {"id": size.pk, "name": "my column", "DELETE": "on"}]
    assert TablePage(browser, table_data(app, *rows), table).errors == {}
    assert TablePage(browser, table_data(app, {**rows[0], "DELETE": "on"}), table).errors.keys() == {"primary_key"}


def test_two_columns_can_exchange_names(browser, app: App) -> None:
    """Two columns may exchange their names in one go."""
    table = build_table(app, "country", {"_id": {}, "a": {}, "b": {}})
    key, first, second = table.columns.all()
    rows = [{"id": key.pk, "name": "_id"}, {"id": first.pk, "name": "b"}, {"id": second.pk, "name": "a"}]
    assert TablePage(browser, table_data(app, *rows), table).saved
    assert [column.name for column in table.columns.all()] == ["_id", "b", "a"]


def test_a_stored_table_can_be_saved_unchanged(browser, app: App) -> None:
    """The page of a stored table can be saved as it is."""
    table = app.tables.get()
    rows = [{"id": column.pk, "name": column.name} for column in table.columns.all()]
    assert TablePage(browser, table_data(app, *rows, name="city"), table).saved


@pytest.mark.parametrize("page", ["table_changelist", "table_add"])
def test_lists_and_new_pages_are_shown(browser, app: App, page: str) -> None:
    """The list and the page of a new table are shown."""
    assert browser.get(url(page)).status_code == 200


def test_the_page_of_a_table_shows_its_columns(browser, app: App) -> None:
    """The page of a stored table shows its columns."""
    text = browser.get(url("table_change", app.tables.get().pk)).content.decode()
    assert 'value="_id"' in text


def test_a_table_is_deleted_from_page_and_list(browser, app: App) -> None:
    """A table is deleted from its page and from the list."""
    build_table(app, "country", {"_id": {}})
    browser.post(url("table_delete", app.tables.get(name="city").pk), {"post": "yes"})
    data = {"action": "delete_selected", "_selected_action": app.tables.get().pk, "post": "yes"}
    browser.post(url("table_changelist"), data)
    assert not app.tables.exists()


@pytest.mark.parametrize("key", ["x", "0", "99999999999999999999", ""])
def test_an_address_with_an_invalid_app_does_no_harm(browser, key: str) -> None:
    """The page of a new table opens all the same."""
    assert browser.get(url("table_add"), {"app": key}).status_code == 200


@pytest.mark.parametrize("field", ["mapping", "permissions"])
def test_too_long_a_text_is_refused(browser, app: App, field: str) -> None:
    """A text that is too long is refused at its input, before anybody looks into it."""
    text = '{"a": [' + "1," * 30_000 + "1]}"
    page = TablePage(browser, table_data(app, ID, **{field: text}))
    assert "at most 50000 characters" in str(page.errors[field])


def test_too_large_a_form_is_refused(browser, app: App) -> None:
    """A form of more than 1 MiB is refused unread."""
    response = browser.post(url("table_add"), table_data(app, ID, mapping="x" * 2**20))
    assert response.status_code == 400


def test_too_many_tables_are_refused(browser, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table beyond those that an app may have is refused."""
    monkeypatch.setattr("changesource.publishing.definition_problems.MAX_TABLES", 2)
    assert TablePage(browser, table_data(app, ID, name="one")).saved
    page = TablePage(browser, table_data(app, ID, name="two"))
    assert "at most 2 tables" in str(page.errors)
