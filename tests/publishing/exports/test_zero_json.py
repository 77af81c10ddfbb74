"""The schema as JSON."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from changesource.errors import InvalidDefinition
from changesource.publishing.exports import EXPORT_FORMATS
from changesource.publishing.exports.zero_json import zero_schema
from changesource.publishing.permissions import compile_permissions
from changesource.publishing.schema_file import Schema, read_schema
from changesource.tables.definition import AppDefinition
from tests.publishing.exports.definitions import EVERYTHING, connection, publishable_definitions, table


def test_the_json_has_the_keys_of_create_schema_in_its_order() -> None:
    """A server name that equals the name is left out."""
    definition = AppDefinition(
        "shop", "default", (replace(EVERYTHING.tables[0], columns=EVERYTHING.tables[0].columns[:2]),)
    )
    assert EXPORT_FORMATS["zero-json"].render(definition) == (
        json.dumps(
            {
                "tables": {
                    "order-items": {
                        "name": "order-items",
                        "columns": {
                            "_id": {"type": "string", "optional": False, "customType": None},
                            "class": {
                                "type": "string",
                                "optional": False,
                                "customType": None,
                                "serverName": "class-name",
                            },
                        },
                        "primaryKey": ["_id"],
                        "serverName": "order_items",
                    }
                },
                "relationships": {},
                "enableLegacyQueries": True,
            },
            indent=2,
        )
        + "\n"
    )


def round_trip(definition: AppDefinition) -> Schema:
    return read_schema(EXPORT_FORMATS["zero-json"].render(definition).encode())


def what_zero_knows(definition: AppDefinition) -> Schema:
    """The definition without collections, mappings and fields, of which Zero's schema says nothing."""
    tables = (
        replace(each, collection="", mapping="", columns=tuple(replace(column, field="") for column in each.columns))
        for each in definition.tables
    )
    return Schema(tuple(tables), definition.relationships)


def test_load_schema_reads_back_what_was_exported() -> None:
    assert round_trip(EVERYTHING) == what_zero_knows(EVERYTHING)


@given(publishable_definitions)
def test_any_names_are_read_back_as_they_were(definition: AppDefinition) -> None:
    assert round_trip(definition) == what_zero_knows(definition)


ONE = connection("_id", "_id", "city", "one")


@pytest.mark.parametrize(
    ("relationships", "place"),
    [
        ({"town": {}}, "relationships.town: "),
        ({"city": []}, "relationships.city: "),
        ({"city": {"_id": [ONE]}}, "relationships.city._id: "),
        ({"city": {"x": []}}, "relationships.city.x: "),
        ({"city": {"x": ONE}}, "relationships.city.x: "),
        ({"city": {"x": [ONE, ONE, ONE]}}, "relationships.city.x: "),
        ({"city": {"x": [1]}}, r"relationships.city.x.\[0\]: "),
        ({"city": {"x": [{**ONE, "destSchema": "town"}]}}, r"relationships.city.x.\[0\].destSchema: "),
        ({"city": {"x": [{**ONE, "destSchema": ["city"]}]}}, r"relationships.city.x.\[0\].destSchema: "),
        ({"city": {"x": [ONE, {**ONE, "sourceField": ["id"]}]}}, r"relationships.city.x.\[1\].sourceField: "),
        ({"city": {"x": [{**ONE, "destField": "_id"}]}}, r"relationships.city.x.\[0\].destField: "),
        ({"city": {"x": [{**ONE, "destField": [["_id"]]}]}}, r"relationships.city.x.\[0\].destField: "),
        ({"city": {"x": [{**ONE, "destField": ["_id", "_id"]}]}}, r"relationships.city.x.\[0\].destField: "),
        ({"city": {"x": [{**ONE, "cardinality": "few"}]}}, r"relationships.city.x.\[0\].cardinality: "),
        ({"city": {"x": [{**ONE, "cardinality": ["one"]}]}}, r"relationships.city.x.\[0\].cardinality: "),
        ({"city": {"x": [ONE, {**ONE, "cardinality": "many"}]}}, "relationships.city.x: .*cardinality"),
    ],
)
def test_relationships_that_zero_would_refuse_are_an_error_with_their_place(
    relationships: dict[str, Any], place: str
) -> None:
    with pytest.raises(InvalidDefinition, match=place):
        zero_schema(AppDefinition("shop", "default", (table("city"),), relationships))


def test_tables_without_rules_are_left_out_of_the_permissions() -> None:
    """Others are exported as zero-cache gets them."""
    render = EXPORT_FORMATS["permissions-json"].render
    assert json.loads(render(EVERYTHING)) == {"tables": {}}
    (table, *others) = EVERYTHING.tables
    ruled = replace(EVERYTHING, tables=(replace(table, permissions='{"select": [{}]}'), *others))
    assert json.loads(render(ruled)) == compile_permissions(ruled)


@pytest.mark.parametrize("name", EXPORT_FORMATS)
def test_what_only_the_change_source_needs_is_not_exported(name: str) -> None:
    """Zero's schema knows neither filter columns nor publications."""
    first, *others = EVERYTHING.tables
    columns = tuple(column.name for column in first.columns if column.type != "json")
    definition = replace(
        EVERYTHING, tables=(replace(first, filter_columns=columns), *others), publications={"mobile": [first.name]}
    )
    assert EXPORT_FORMATS[name].render(definition) == EXPORT_FORMATS[name].render(EVERYTHING)
