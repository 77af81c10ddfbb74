"""changesource/publishing/publication_file.py"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import InvalidSchemaFile
from changesource.publishing.publication_file import apply_publications
from changesource.publishing.schema_file import read_schema

COLUMNS = {"_id": {"type": "string"}}
SCHEMA = read_schema(
    json.dumps(
        {
            "tables": {
                "order": {"columns": COLUMNS, "primaryKey": ["_id"], "serverName": "orders"},
                "item": {"columns": COLUMNS, "primaryKey": ["_id"]},
            }
        }
    ).encode()
)


def publications(content: Any) -> Any:
    return apply_publications(SCHEMA, json.dumps(content).encode()).publications


def test_tables_are_named_by_either_name() -> None:
    """What is stored are names in queries."""
    assert publications({"mobile": ["orders", "item"], "web": ["order"]}) == {
        "mobile": ["order", "item"],
        "web": ["order"],
    }


def test_the_versioned_form_says_the_same() -> None:
    """Bare, or under `publications`."""
    assert publications({"version": 1, "publications": {"web": ["item"]}}) == publications({"web": ["item"]})


def test_an_empty_object_means_no_publications() -> None:
    """Without a file nothing is said about them."""
    assert publications({}) == {}
    assert SCHEMA.publications is None


@pytest.mark.parametrize("groups", [{"web": ["nope", 1]}, {"web": 1}, {"_": []}])
def test_what_publishing_would_refuse_is_left_to_it(groups: Any) -> None:
    """Nothing is changed silently."""
    assert publications(groups) == groups


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "publications: Write a JSON object with an entry for each publication"),
        (b"{", "The publications file: This is not JSON"),
        (b"\xff", "The publications file is not JSON in UTF-8"),
        (b'{"a": [], "a": []}', "'a' twice"),
        (b'{"version": 2, "publications": {}}', "publications files of version 1"),
    ],
)
def test_what_is_not_a_file_of_publications_is_refused_with_the_reason(content: bytes, message: str) -> None:
    with pytest.raises(InvalidSchemaFile, match=message):
        apply_publications(SCHEMA, content)


@given(st.binary(max_size=60))
def test_nonsense_is_refused(content: bytes) -> None:
    """`InvalidSchemaFile`, or publications."""
    try:
        assert isinstance(apply_publications(SCHEMA, content).publications, dict)
    except InvalidSchemaFile:
        return
