"""Tables proposed for collections."""

import json
import re
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from changesource.publishing.definition_problems import find_problems
from changesource.publishing.inference import propose_table
from changesource.publishing.schema_file import read_schema
from changesource.tables.definition import AppDefinition, why_not_a_name
from changesource.tables.values import DoesNotFit, convert

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.datetimes(timezones=st.just(UTC)),
    st.builds(ObjectId),
    st.uuids(),
    st.decimals(allow_nan=False, places=3, min_value=-9, max_value=9).map(Decimal128),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner))
documents = st.dictionaries(st.text(max_size=3) | st.sampled_from(["a", "b", "c", "_0_version"]), values, max_size=5)


collections = st.text(min_size=1, max_size=70).filter(
    lambda name: not (why_not_a_name(name) or "$" in name or name.startswith(("system.", "zero_sources_")))
)


def columns(*documents: dict[str, Any], **rules: Any) -> dict[str, Any]:
    """The columns proposed for `documents` with a validator of `rules`, without `_id`."""
    with_ids = [{"_id": ObjectId(), **document} for document in documents]
    proposed = propose_table("city", {"$jsonSchema": rules}, with_ids).table["columns"]
    return {name: column for name, column in proposed.items() if name != "_id"}


def warnings(*documents: dict[str, Any], **rules: Any) -> list[str]:
    with_ids = [{"_id": ObjectId(), **document} for document in documents]
    return propose_table("city", {"$jsonSchema": rules}, with_ids).warnings


@pytest.mark.parametrize(
    ("value", "column_type"),
    [
        (True, "boolean"),
        (1, "number"),
        (Int64(2**53 - 1), "number"),
        (Int64(2**53), "string"),
        (Int64(-(2**63)), "string"),
        (1.5, "number"),
        (datetime(2026, 1, 1, tzinfo=UTC), "number"),
        (DatetimeMS(2**60), "number"),
        ("x", "string"),
        (ObjectId(), "string"),
        (uuid.uuid4(), "string"),
        (b"x", "string"),
        (Binary(b"x", 128), "string"),
        (Decimal128("1.5"), "string"),
        (Timestamp(1, 1), "string"),
        (Regex("x"), "string"),
        (re.compile("x"), "string"),
        (Code("x"), "string"),
        (MinKey(), "string"),
        (MaxKey(), "string"),
        ({}, "json"),
        ([], "json"),
        (DBRef("a", 1), "json"),
    ],
)
def test_each_bson_type_has_its_column_type(value: object, column_type: str) -> None:
    assert columns({"a": value}) == {"a": {"type": column_type, "optional": False}}


@pytest.mark.parametrize(
    ("values", "column_type"),
    [
        ((1, 1.5), "number"),
        ((1, Int64(2**53)), "string"),
        ((1, "x"), "string"),
        (("x", {}), "json"),
        ((True, []), "json"),
    ],
)
def test_scalars_of_several_types_are_a_string_column(values: tuple[object, ...], column_type: str) -> None:
    """With documents or arrays among them they are a json column."""
    assert columns(*({"a": value} for value in values))["a"]["type"] == column_type


def test_mixed_values_are_doubtful() -> None:
    """Several types of values are said."""
    assert warnings({"a": 1}, {"a": "x"}) == ["a: string, because its values have several types (number, string)."]


@pytest.mark.parametrize("missing", [{}, {"a": None}, {"a": float("nan")}, {"a": Decimal128("Infinity")}])
def test_a_column_is_optional_if_a_document_has_no_value(missing: dict[str, Any]) -> None:
    """Or one that becomes null."""
    assert columns({"a": 1.5}, missing)["a"]["optional"] is True


def test_the_validator_alone_gives_types_and_required_columns() -> None:
    """Where there are no documents."""
    rules = {
        "required": ["a", "b", "e"],
        "properties": {
            "a": {"bsonType": "date"},
            "b": {"bsonType": ["null", "long"]},
            "c": {"type": "boolean"},
            "d": {"enum": ["x", "y"]},
        },
    }
    assert columns(**rules) == {
        "a": {"type": "number", "optional": False},
        "b": {"type": "number", "optional": True},
        "c": {"type": "boolean", "optional": True},
        "d": {"type": "string", "optional": True},
        "e": {"type": "json", "optional": False},
    }


def test_no_documents_are_doubtful() -> None:
    """A proposal that rests on the validator alone says so."""
    assert warnings() == ["There are no documents to sample: the proposal rests on the validator alone."]


def test_types_of_the_validator_and_of_documents_both_count() -> None:
    """Documents may be older than their validator."""
    assert columns({"a": "x"}, properties={"a": {"bsonType": "int"}})["a"]["type"] == "string"


def test_a_document_without_a_required_value_makes_the_column_optional() -> None:
    """Otherwise the document's row would be left out."""
    assert columns({"a": 1}, {}, required=["a"])["a"]["optional"] is True
    assert warnings({"a": 1}, {}, required=["a"]) == [
        "a: optional, because documents without a value exist, although the validator requires one."
    ]


def test_key_comes_first_and_is_required() -> None:
    """`_id` is the first column, never optional, and the primary key, wherever it stands."""
    table = propose_table("city", {"$jsonSchema": {"properties": {"a": {}}}}, [{"a": 1, "_id": 1}]).table
    assert list(table["columns"]) == ["_id", "a"]
    assert table["columns"]["_id"] == {"type": "number", "optional": False}
    assert table["primaryKey"] == ["_id"]


@pytest.mark.parametrize("name", ["", "a b", "a.b", "$a", "ä", "_0_version", "x" * 64])
def test_a_field_that_cannot_be_a_column_is_left_out(name: str) -> None:
    """With a warning."""
    assert columns({name: 1, "a": 1}) == {"a": {"type": "number", "optional": False}}
    [warning] = warnings({name: 1})
    assert warning.startswith(f"{name}: left out. ")


def test_of_two_fields_that_differ_in_case_only_the_first_is_kept() -> None:
    """SQLite takes them for one."""
    assert list(columns({"name": 1, "Name": 2})) == ["name"]


@given(collections, st.lists(documents, max_size=4))
def test_any_proposal_can_be_loaded(name: str, sampled: list[dict[str, Any]]) -> None:
    """Whatever the collection is called and documents hold, the proposal is a schema file without problems."""
    with_ids = [{**document, "_id": n} for n, document in enumerate(sampled)]
    table = propose_table(name, {}, with_ids).table
    text = json.dumps({"tables": {table["name"]: table}})
    assert find_problems(AppDefinition("shop", "default", read_schema(text.encode()).tables)) == []


@given(st.lists(documents, min_size=1, max_size=4))
def test_documents_fit_their_proposal(sampled: list[dict[str, Any]]) -> None:
    """Every value of the documents fits its proposed column, and is null only where the column is optional."""
    with_ids = [{**document, "_id": n} for n, document in enumerate(sampled)]
    for name, column in propose_table("city", {}, with_ids).table["columns"].items():
        for document in with_ids:
            try:
                value = convert(column["type"], document.get(name))
            except DoesNotFit:
                pytest.fail(f"{document[name]!r} does not fit {column}")
            assert value is not None or column["optional"]


@pytest.mark.parametrize(
    ("collection", "name"),
    [
        ("city", "city"),
        ("user.profiles.v2", "user_profiles_v2"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE} \N{HOT BEVERAGE}", "caf_"),
        ("2026", "table_2026"),
        ("_zero", "table__zero"),
        ("x" * 100, "x" * 63),
    ],
)
def test_a_collection_whose_name_no_table_can_have_gets_another_table_name(collection: str, name: str) -> None:
    """Its mapping names the collection."""
    proposal = propose_table(collection, {}, [{"_id": "a"}])
    [table] = read_schema(json.dumps({"tables": {name: proposal.table}}).encode()).tables
    assert (table.name, table.server_name, table.collection) == (name, name, collection)
    assert find_problems(AppDefinition("shop", "default", (table,))) == []
    assert any(repr(name) in warning for warning in proposal.warnings) == (name != collection)


@pytest.mark.parametrize("document_id", [{"a": 1, "b": "x"}, "x"])
def test_an_object_as_id_is_a_string(document_id: Any) -> None:
    """No key may be json; documents may have ids of both kinds."""
    proposal = propose_table("city", {}, [{"_id": {"a": 1}}, {"_id": document_id}])
    assert proposal.table["columns"]["_id"] == {"type": "string", "optional": False}
    assert any(warning.startswith("_id: string, which holds the JSON text") for warning in proposal.warnings)


def counters(days: int) -> list[dict[str, Any]]:
    """Documents whose keys are data: each day has a field of its own, and all have the field `place`."""
    return [{"_id": n, "place": "x", f"day_{n}": n, f"night_{n}": n} for n in range(days)]


def test_names_of_fields_that_are_data_become_one_json_column() -> None:
    """Thousands of columns, of which each row has two, help no query; a publish refuses them, or zero-cache would."""
    proposal = propose_table("visits", {}, counters(1_000))
    assert list(proposal.table["columns"]) == ["_id", "document", "place"]
    assert proposal.table["columns"]["document"] == {"type": "json", "optional": False}
    pipeline = [{"$addFields": {"document": "$$ROOT"}}]
    assert json.loads(proposal.table["serverName"]) == {"source": "visits", "pipeline": pipeline}
    (warning,) = proposal.warnings
    assert warning.startswith(
        "document: json, which holds the whole document. 2,000 of its 2,002 fields get no columns"
    )
    text = json.dumps({"tables": {"visits": proposal.table}})
    assert find_problems(AppDefinition("shop", "default", read_schema(text.encode()).tables)) == []


def test_the_json_column_for_data_gets_a_name_that_is_free() -> None:
    documents = [{**document, "Document": 1, "document_": 2} for document in counters(100)]
    assert list(propose_table("visits", {}, documents).table["columns"])[:2] == ["_id", "document__"]


def test_rare_fields_that_the_validator_names_stay_columns() -> None:
    names = [f"day_{n}" for n in range(150)]
    rules = {"$jsonSchema": {"properties": {name: {"bsonType": "int"} for name in names[:75]}, "required": names[75:]}}
    assert list(propose_table("visits", rules, counters(1_000)).table["columns"]) == [
        "_id",
        "document",
        *names,
        "place",
    ]


def test_some_rare_fields_are_not_data() -> None:
    """As many optional fields as people write by hand are a structure."""
    assert propose_table("visits", {}, counters(50)).table["columns"].keys() >= {"day_0", "night_49"}


def test_one_document_with_many_fields_is_not_data() -> None:
    document = {"_id": 1} | {f"field_{n}": n for n in range(900)}
    assert len(propose_table("wide", {}, [document]).table["columns"]) == 901


def test_more_fields_than_a_table_has_columns_become_one_json_column() -> None:
    documents = [{"_id": n} | {f"field_{i}": i for i in range(1_001)} for n in range(3)]
    assert list(propose_table("wide", {}, documents).table["columns"]) == ["_id", "document"]
