"""changesource/publishing/mapping_file.py"""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidSchemaFile
from changesource.publishing.mapping_file import apply_mappings
from changesource.publishing.schema_file import Schema, read_schema
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Column
from changesource.tables.row_errors import RowError

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


RENAMES = {"name": "$fullName", "age": 1}


@pytest.mark.parametrize(
    ("projection", "fields"),
    [
        (RENAMES, ["_id", "fullName", "age"]),
        ({"id": "$_id", **RENAMES}, ["_id", "fullName", "age"]),
        ({"id": 1, **RENAMES}, ["_id", "fullName", "age"]),
        ({"_id": 0, "id": "$number", **RENAMES}, ["number", "fullName", "age"]),
        ({"_id": 1, "name": True, "age": 2.5}, ["_id", "name", "age"]),
        ({"secret": 0}, ["_id", "name", "age"]),
        ({"name": "$a.b", "age": 1}, None),
        ({"name": "$$ROOT", "age": 1}, None),
        ({"name": {"$toUpper": "$n"}, "age": 1}, None),
        ({"name": 1}, None),
    ],
)
def test_only_what_is_more_than_a_name_needs_a_mapping(projection: Any, fields: list[str] | None) -> None:
    """A projection that chooses and renames top-level fields becomes the columns' fields."""
    user, _ = mapped({"user": {"source": "people", "filter": {}, "projection": projection}}).tables
    assert (user.mapping == "") is (fields is not None)
    if fields is None:
        assert json.loads(user.mapping) == {"projection": projection}
    else:
        assert [column.field for column in user.columns] == fields


@given(
    st.dictionaries(
        st.sampled_from(["fullName", "name", "age", "id", "_id", "x"]),
        st.sampled_from([0, 1, True, "$name", "$x", "$x.y"]),
    ),
    st.dictionaries(st.sampled_from(["_id", "id", "fullName", "name", "age", "x"]), st.integers(0, 9)),
)
def test_a_filter_changes_no_rows(projection: Any, document: dict[str, int]) -> None:
    """A projection means the same whether it has become names of fields, or stays a mapping beside a filter."""
    columns = (*SCHEMA.tables[0].columns, Column("name2", "json", optional=True, server_name="fullName"))
    schema = Schema((replace(SCHEMA.tables[0], columns=columns),), {})
    matches_all = {"none": {"$exists": False}}
    built = []
    for mapping in ({"projection": projection}, {"projection": projection, "filter": matches_all}):
        try:
            [user] = apply_mappings(schema, json.dumps({"user": {"source": "people", **mapping}}).encode()).tables
        except InvalidSchemaFile:
            built.append(None)
        else:
            errors: list[RowError] = []
            built.append((CompiledTable(user).rows(document, errors), errors))
    assert built[0] == built[1]


def test_everything_of_a_mapping_is_taken() -> None:
    """In the order of the file, without the source; columns show what it gives under their names."""
    mapping = {
        "filter": {"b": {"$oid": "507f1f77bcf86cd799439011"}, "a": 1},
        "projection": {"id": "$_id.key", "name": 1},
    }
    user, _ = mapped({"user": {"source": "people", **mapping}}).tables
    assert user.collection == "people"
    assert user.mapping == json.dumps(mapping, separators=(",", ":"))
    assert [column.field for column in user.columns] == ["id", "name", "age"]


def test_a_column_of_a_pipeline_shows_the_field_of_its_server_name() -> None:
    """Or that of its name, where the pipeline certainly gives only that."""
    stages = [{"$project": {"_id": 0, "id": "$_id", "name": "$fullName"}}]
    user, _ = mapped({"user": {"source": "people", "pipeline": stages}}).tables
    assert json.loads(user.mapping) == {"pipeline": stages}
    assert [column.field for column in user.columns] == ["id", "name", "age"]
    user, _ = mapped({"user": {"source": "people", "pipeline": [{"$unset": "secret"}]}}).tables
    assert [column.field for column in user.columns] == ["_id", "name", "age"]


def test_the_place_of_a_mapping_is_taken() -> None:
    """A mapping of the schema file gives way to that of the mapping file as a whole."""
    schema = Schema((replace(SCHEMA.tables[0], mapping='{"filter":{"a":1}}'), SCHEMA.tables[1]), {})
    user, _ = apply_mappings(schema, b'{"user": {"source": "people"}}').tables
    assert (user.mapping, user.collection) == ("", "people")


def test_filter_columns_stand_beside_the_mapping() -> None:
    """They are no part of it."""
    user, note = mapped({"users": {"source": "people", "filter": {"a": 1}, "filterColumns": ["age", "id"]}}).tables
    assert (user.filter_columns, user.mapping) == (("age", "id"), '{"filter":{"a":1}}')
    assert note.filter_columns == ()


def test_an_empty_list_of_filter_columns_means_none() -> None:
    """A table without a list is left as it is."""
    assert mapped({"users": {"source": "people"}}).without_filter_columns == frozenset()
    assert mapped({"users": {"source": "people", "filterColumns": []}}).without_filter_columns == {"user"}


def test_indexes_beside_the_mapping_replace_those_of_the_schema() -> None:
    """An empty list means that there are none."""
    said = mapped({"users": {"source": "people", "filter": {"a": 1}, "indexes": [["age", "id"], ["age"]]}})
    user, note = said.tables
    assert (user.indexes, user.mapping, note.indexes) == ((("age", "id"), ("age",)), '{"filter":{"a":1}}', ())
    assert said.without_indexes == frozenset()
    assert mapped({"users": {"source": "people"}}).without_indexes == frozenset()
    assert mapped({"users": {"source": "people", "indexes": []}}).without_indexes == {"user"}


@pytest.mark.parametrize(
    ("mappings", "place"),
    [
        ({"user": {"source": "x", "indexes": ["age"]}}, "mappings.user.indexes"),
        ({"user": {"source": "x", "indexes": [["id"], [1]]}}, "mappings.user.indexes[1][0]"),
        ({"user": {"source": "x", "filterColumns": "age"}}, "mappings.user.filterColumns"),
        ({"user": {"source": "x", "filterColumns": [1]}}, "mappings.user.filterColumns"),
        ({"user": {"filterColumns": ["age"]}}, "mappings.user.source"),
        ({"user": "filterColumns"}, "mappings.user"),
        ([], "mappings"),
        ({"other": {"source": "x"}}, "mappings.other"),
        ({"user": {"source": "x"}, "users": {"source": "y"}}, "mappings.users"),
        ({"user": "people"}, "mappings.user"),
        ({"user": {}}, "mappings.user.source"),
        ({"user": {"source": 5}}, "mappings.user.source"),
        ({"user": {"source": "x", "filter": []}}, "mappings.user.filter"),
        ({"user": {"source": "x", "filter": {"t": {"$where": "1"}}}}, "mappings.user.filter.t.$where"),
        ({"user": {"source": "x", "pipeline": [{"$match": {}}, {"$group": {}}]}}, "mappings.user.pipeline[1]: $group"),
        ({"user": {"source": "x", "pipeline": [], "filter": {}}}, "mappings.user.filter"),
        ({"user": {"source": "x", "projection": [1]}}, "mappings.user.projection"),
        ({"user": {"source": "x", "projection": {"name": 0, "age": 1}}}, "mappings.user.projection"),
        ({"user": {"source": "x", "projection": {"name": {"$nope": 1}}}}, "mappings.user.projection.name"),
        ({"user": {"source": "x", "limit": 5}}, "mappings.user.limit"),
        ({"version": 2, "mappings": {}}, "version"),
    ],
)
def test_what_is_no_mapping_is_refused(mappings: Any, place: str) -> None:
    """With the place; never silently left out."""
    with pytest.raises(InvalidSchemaFile) as refused:
        mapped(mappings)
    assert refused.value.args[0].startswith(place)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON: line 1"),
        ('{"user": {"source": "x", "filter": {"a": 1, "a": 2}}}', "'a' twice"),
        ('{"user": {"source": "x", "filter": {"a": NaN}}}', "NaN"),
        ('{"user": {"source": "x", "filter": {"a": 1e999}}}', "beyond what a double can hold"),
        ('{"user": {"source": "x", "filter": {"a": "\\ud800"}}}', "cannot be stored"),
        ("[" * 100_000 + "]" * 100_000, "nested more than 100 deep"),
    ],
)
def test_what_is_no_json_is_refused(text: str, message: str) -> None:
    """Also what other readers of JSON would change silently."""
    with pytest.raises(InvalidSchemaFile, match=message):
        apply_mappings(SCHEMA, text.encode())


@given(st.binary(max_size=60))
def test_nonsense_is_refused(content: bytes) -> None:
    """`InvalidSchemaFile`, or mappings that say nothing."""
    try:
        assert apply_mappings(SCHEMA, content) == SCHEMA
    except InvalidSchemaFile:
        return


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from(["users", "$a", "$", "$$a", "a", ""]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["user", "source", "projection", "filter", "pipeline", "$match", "name", "age", "_id"]),
            inner,
            max_size=4,
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
