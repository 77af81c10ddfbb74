"""changesource/publishing/mapping_file.py"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidSchemaFile
from changesource.publishing.mapping_file import apply_mappings
from changesource.publishing.schema_file import Schema, read_schema

SCHEMA = read_schema(
    json.dumps(
        {
            "tables": {
                "user": {
                    "name": "user",
                    "serverName": "users",
                    "columns": {
                        "id": {"type": "string", "serverName": "_id"},
                        "name": {"type": "string"},
                        "age": {"type": "number", "optional": True},
                    },
                    "primaryKey": ["id"],
                },
                "note": {"name": "note", "columns": {"_id": {"type": "string"}}, "primaryKey": ["_id"]},
            }
        }
    ).encode()
)


def mapped(mappings: Any) -> Schema:
    return apply_mappings(SCHEMA, json.dumps(mappings).encode())


@pytest.mark.parametrize("name", ["user", "users"])
def test_a_table_shows_another_collection(name: str) -> None:
    """By its name or its server name; tables that are not mentioned stay."""
    user, note = mapped({name: {"source": "people"}}).tables
    assert (user.collection, user.server_name) == ("people", "users")
    assert note == SCHEMA.tables[1]


def test_columns_show_other_fields() -> None:
    """`1` is the field of its own name, `"$field"` another; `_id` need not be named."""
    user, _ = mapped({"user": {"source": "people", "projection": {"name": "$fullName", "age": 1}}}).tables
    assert [column.field for column in user.columns] == ["_id", "fullName", "age"]
    assert [column.server_name for column in user.columns] == ["_id", "name", "age"]


def test_the_versioned_form_says_the_same() -> None:
    """Bare, or under `mappings`."""
    mappings = {"note": {"source": "notes"}}
    assert mapped({"version": 1, "mappings": mappings}) == mapped(mappings)


@pytest.mark.parametrize(
    ("mappings", "place"),
    [
        ([], "mappings"),
        ({"other": {"source": "x"}}, "mappings.other"),
        ({"user": "people"}, "mappings.user"),
        ({"user": {}}, "mappings.user.source"),
        ({"user": {"source": 5}}, "mappings.user.source"),
        ({"user": {"source": "x", "filter": {"t": "d"}}}, "mappings.user.filter"),
        ({"user": {"source": "x", "pipeline": [{"$match": {}}]}}, "mappings.user.pipeline"),
        ({"user": {"source": "x", "projection": []}}, None),
        ({"user": {"source": "x", "projection": [1]}}, "mappings.user.projection"),
        ({"user": {"source": "x", "projection": {"name": 1}}}, "mappings.user.projection: The column age"),
        ({"user": {"source": "x", "projection": {"name": 0}}}, "mappings.user.projection.name"),
        ({"user": {"source": "x", "projection": {"name": "$a.b", "age": 1}}}, "mappings.user.projection.name"),
        (
            {"user": {"source": "x", "projection": {"name": {"$toUpper": "$n"}, "age": 1}}},
            "mappings.user.projection.name",
        ),
        ({"version": 2, "mappings": {}}, "version"),
    ],
)
def test_what_is_more_than_one_to_one_is_refused(mappings: Any, place: str | None) -> None:
    """With the place; never silently left out. What says nothing, such as an empty projection, is let through."""
    if place is None:
        mapped(mappings)
        return
    with pytest.raises(InvalidSchemaFile) as refused:
        mapped(mappings)
    assert refused.value.args[0].startswith(place)


@given(st.binary(max_size=60))
def test_nonsense_is_refused(content: bytes) -> None:
    """`InvalidSchemaFile`, or mappings that say nothing."""
    try:
        assert apply_mappings(SCHEMA, content) == SCHEMA
    except InvalidSchemaFile:
        return


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["users", "$a", "$", "$$a", "a"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["user", "source", "projection", "filter", "name", "age", "_id"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_json_is_read_or_refused(mappings: object) -> None:
    """Never another error."""
    try:
        mapped(mappings)
    except InvalidSchemaFile:
        return
