"""Definitions: defaults and the stored form."""

import json

import pytest
from hypothesis import given

from changesource.tables.definition import AppDefinition, Column
from tests.tables.definitions import definitions, table


@given(definitions)
def test_a_definition_survives_its_json(definition: AppDefinition) -> None:
    """What was stored as JSON text is read as an equal definition."""
    assert AppDefinition.from_json(json.loads(json.dumps(definition.to_json()))) == definition


def test_names_default_downwards() -> None:
    """A field is the server name, which is the name, unless they are given."""
    column = Column("id", "string", server_name="_id")
    assert (Column("a", "string").field, column.field, column.server_name) == ("a", "_id", "_id")


def test_collection_defaults_to_server_name() -> None:
    """A table without a collection reads the one of its server name."""
    assert table(server_name="cities").collection == "cities"


def test_a_mapping_has_one_form() -> None:
    """Mappings that differ only in how they are written are equal. The order of names counts, and is kept."""
    written = '{ "filter": {"b": 1,\n "a": {"$date": "2024-05-01T00:00:00Z"}} }'
    stored = '{"filter":{"b":1,"a":{"$date":"2024-05-01T00:00:00Z"}}}'
    assert table(mapping=written).mapping == table(mapping=stored).mapping == stored
    assert table(mapping='{"filter":{"a":1,"b":1}}') != table(mapping='{"filter":{"b":1,"a":1}}')


@pytest.mark.parametrize("text", ["", " \n", "{}"])
def test_a_mapping_that_says_nothing_is_not_stored(text: str) -> None:
    """A mapping that says nothing is none, and is not stored."""
    app = AppDefinition("shop", "default", (table(mapping=text),))
    assert app.tables[0].mapping == ""
    assert "mapping" not in app.to_json()["tables"][0]


def test_a_mapping_that_is_not_json_is_kept() -> None:
    """So that its problem can be reported."""
    assert table(mapping="{").mapping == "{"


def test_filter_columns_and_publications_are_stored_only_if_there_are_any() -> None:
    """As before there were any."""
    app = AppDefinition("shop", "default", (table(),))
    assert not {"publications", "filterColumns"} & {*app.to_json(), *app.to_json()["tables"][0]}
    app = AppDefinition("shop", "default", (table(filter_columns=("name",)),), publications={"mobile": ["city"]})
    assert app.to_json()["publications"] == {"mobile": ["city"]}
    assert app.to_json()["tables"][0]["filterColumns"] == ["name"]


def test_a_version_of_a_release_without_mappings_is_read() -> None:
    """What was stored by a release that had no mappings is read."""
    stored = AppDefinition("shop", "default", (table(),)).to_json()
    assert AppDefinition.from_json(json.loads(json.dumps(stored))).tables[0].mapping == ""
