"""Zero's schema in its JSON form."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidSchemaFile
from changesource.publishing.definition_problems import find_problems
from changesource.publishing.schema_file import Schema, read_schema
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import AppDefinition, Column, Table

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def almost(value: Any) -> st.SearchStrategy[Any]:
    """`value` in which any part may be replaced by any JSON."""
    if isinstance(value, dict):
        whole: st.SearchStrategy[Any] = st.fixed_dictionaries(
            {}, optional={key: almost(member) for key, member in value.items()}
        )
    elif isinstance(value, list):
        whole = st.tuples(*map(almost, value)).map(list)
    else:
        whole = st.just(value)
    return st.one_of(whole, whole, whole, json_values)


CITY: dict[str, Any] = {
    "name": "city",
    "serverName": "cities",
    "columns": {
        "id": {"type": "string", "optional": False, "serverName": "_id", "customType": None},
        "size": {"type": "number", "optional": True},
    },
    "primaryKey": ["id"],
}
SCHEMA = {"tables": {"city": CITY}, "relationships": {"city": {"country": []}}}


def read(schema: Any) -> Schema:
    return read_schema(json.dumps(schema).encode())


def city(**changes: Any) -> Any:
    """A schema of one table, with `changes` to it."""
    return {"tables": {"city": {**CITY, **changes}}}


def column(**changes: Any) -> Any:
    """A schema of one table of one column, with `changes` to it."""
    return city(columns={"id": {"type": "string", **changes}})


def test_everything_is_read() -> None:
    """Tables, columns, keys and relationships arrive as they stand in the file."""
    assert read(SCHEMA) == Schema(
        tables=(
            Table(
                name="city",
                server_name="cities",
                columns=(Column("id", "string", server_name="_id"), Column("size", "number", optional=True)),
                primary_key=("id",),
            ),
        ),
        relationships={"city": {"country": []}},
    )


def test_unknown_keys_are_left_alone() -> None:
    """A newer Zero may say more."""
    assert read({**SCHEMA, "version": 3, "enableLegacyQueries": False}) == read(SCHEMA)


def test_names_may_be_left_out() -> None:
    """A table is called as it is keyed, and a column is required, unless the file says otherwise."""
    table = read({"tables": {"city": {"columns": {"_id": {"type": "string"}}, "primaryKey": ["_id"]}}}).tables[0]
    assert (table.name, table.server_name, table.columns[0].optional) == ("city", "city", False)


def test_a_file_with_a_byte_order_mark_is_read() -> None:
    """Editors on Windows write it."""
    assert read_schema(b"\xef\xbb\xbf" + json.dumps(SCHEMA).encode()) == read(SCHEMA)


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ([], "The file: "),
        ({}, "tables: "),
        ({"tables": []}, "tables: "),
        ({"tables": {}}, "tables: "),
        ({"tables": {"city": None}}, "tables.city: "),
        ({"tables": {"": CITY}}, "tables.: "),
        ({**SCHEMA, "relationships": []}, "relationships: "),
        (city(name="town"), "tables.city.name: "),
        (city(serverName=1), "tables.city.serverName: "),
        (city(serverName="x" * 64), "tables.city.serverName: "),
        (city(columns=[]), "tables.city.columns: "),
        (city(columns={"id": 1}), "tables.city.columns.id: "),
        (city(primaryKey="id"), "tables.city.primaryKey: "),
        (city(primaryKey=[["id"]]), "tables.city.primaryKey[0]: "),
        (city(indexes={}), "tables.city.indexes: "),
        (city(indexes=["id"]), "tables.city.indexes: "),
        (city(indexes=[["id"], ["id", ""]]), "tables.city.indexes[1][1]: "),
        ({"tables": {"city": {"columns": {}}}}, "tables.city.primaryKey: "),
        ({"tables": {"city": {"primaryKey": []}}}, "tables.city.columns: "),
        (column(type="text"), "tables.city.columns.id.type: "),
        (column(type=["string"]), "tables.city.columns.id.type: "),
        (column(type="null"), "tables.city.columns.id.type: "),
        (city(columns={"id": {}}), "tables.city.columns.id.type: "),
        (column(optional="yes"), "tables.city.columns.id.optional: "),
        (column(serverName=None), "tables.city.columns.id.serverName: "),
        (city(columns={"x" * 64: {"type": "string"}}), f"tables.city.columns.{'x' * 64}: "),
    ],
)
def test_what_has_the_wrong_shape_is_named_by_its_place(schema: Any, place: str) -> None:
    with pytest.raises(InvalidSchemaFile) as refusal:
        read(schema)
    assert str(refusal.value).startswith(f"CS202: {place}")


# Mappings as names


def test_a_mapping_may_stand_as_server_name() -> None:
    """The table keeps its own name, and shows what the mapping makes of the collection."""
    mapping = {"source": "places", "filter": {"t": "c", "closed": {"$ne": True}}, "projection": {"_id": 1, "size": 1}}
    [table] = read(city(serverName=json.dumps(mapping))).tables
    assert (table.name, table.server_name, table.collection) == ("city", "city", "places")
    assert json.loads(table.mapping) == {"filter": mapping["filter"], "projection": mapping["projection"]}
    assert [column.field for column in table.columns] == ["_id", "size"]


def test_several_tables_can_be_made_of_one_collection() -> None:
    """As systems in use write it: nested fields stay in their objects, and a column that the
    projection does not reach can be published when it is optional."""
    columns = {name: {"type": kind, "optional": True} for name, kind in (("sender", "json"), ("muted", "boolean"))}
    key = {"_id": {"type": "string", "optional": False, "customType": None}}
    projections = {"note": {"_id": 1, "sender.id": 1, "sender.name": 1}, "alert": {"_id": 1, "settings.muted": 1}}
    tables = {
        name: {
            "name": name,
            "columns": {**key, **columns},
            "primaryKey": ["_id"],
            "serverName": json.dumps({"source": "messages", "filter": {"t": name}, "projection": projection}),
        }
        for name, projection in projections.items()
    }
    schema = read({"tables": tables})
    assert [(table.server_name, table.collection) for table in schema.tables] == [
        ("note", "messages"),
        ("alert", "messages"),
    ]
    assert find_problems(AppDefinition("shop", "default", schema.tables)) == []
    document = {"_id": 1, "t": "note", "sender": {"id": "a", "age": 5}, "settings": {"muted": True}}
    note, alert = (CompiledTable(table) for table in schema.tables)
    assert note.rows(document, []) == [{"_id": "1", "sender": '{"id":"a"}', "muted": None}]
    assert alert.rows(document, []) == []
    assert alert.rows({**document, "t": "alert"}, []) == [{"_id": "1", "sender": None, "muted": None}]


def test_a_pipeline_may_stand_as_server_name() -> None:
    """With values in Extended JSON."""
    stages = [{"$match": {"at": {"$gt": {"$date": "2024-01-01T00:00:00Z"}}}}, {"$set": {"_id": "$code"}}]
    [table] = read(city(serverName=json.dumps({"source": "places", "pipeline": stages}))).tables
    assert json.loads(table.mapping) == {"pipeline": stages}


def test_indexes_are_lists_of_column_names() -> None:
    """An empty list means that there are none; no list says nothing."""
    schema = read(city(indexes=[["id"], ["id", "name"]]))
    assert (schema.tables[0].indexes, schema.without_indexes) == ((("id",), ("id", "name")), frozenset())
    assert read(city(indexes=[])).without_indexes == {"city"}
    assert read(city()).without_indexes == frozenset()


@pytest.mark.parametrize(
    ("server_name", "place"),
    [
        ("{", ": This is not JSON: line 1"),
        ("{}", ".source: "),
        ('{"source": ""}', ".source: "),
        ('{"source": "a", "filter": {"x": 1, "x": 2}}', ": An object has 'x' twice"),
        ('{"source": "a", "filter": {"x": {"$near": 1}}}', ".filter.x.$near: "),
        ('{"source": "a", "pipeline": [{"$out": "b"}]}', ".pipeline[0]: $out is refused"),
        ('{"source": "a", "sort": {}}', ".sort: "),
    ],
)
def test_a_bad_mapping_as_server_name_is_refused_with_the_place(server_name: str, place: str) -> None:
    with pytest.raises(InvalidSchemaFile) as refusal:
        read(city(serverName=server_name))
    assert str(refusal.value).startswith(f"CS202: tables.city.serverName{place}")


def test_a_column_cannot_have_a_mapping_as_its_name() -> None:
    """Only tables can."""
    with pytest.raises(InvalidSchemaFile, match=r"columns\.id\.serverName: Only a table"):
        read(column(serverName='{"source": "cities"}'))


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"{", b"[" * 100_000, b'{"tables": NaN}', b'{"tables": "\\u0000"}']
)
def test_a_file_without_json_is_refused(content: bytes) -> None:
    """So is JSON that cannot be stored."""
    with pytest.raises(InvalidSchemaFile, match="The file is not"):
        read_schema(content)


@given(st.one_of(json_values, almost(SCHEMA)))
def test_nonsense_is_refused_or_read(schema: Any) -> None:
    """Whatever JSON a file holds, it is read or refused as a schema file."""
    with contextlib.suppress(InvalidSchemaFile):
        assert read(schema).tables


@given(st.binary(max_size=50))
def test_any_other_file_raises_nothing_but_invalid_schema_file(content: bytes) -> None:
    with pytest.raises(InvalidSchemaFile):
        read_schema(content)
