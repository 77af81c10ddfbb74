"""read_fields.py: which fields are requested from MongoDB."""

import bson
import pytest

from changesource.mongo.decoding import decode_document
from changesource.mongo.read_fields import EVERYTHING, projection_for
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Column, Table
from changesource.tables.row_errors import RowError
from tests.mongo.undecodable import document_of, undecodable_field


@pytest.mark.parametrize(
    ("fields", "projection"),
    [
        ([], {"_id": 1}),
        (["name"], {"_id": 1, "name": 1}),
        (["b", "_id", "a"], {"_id": 1, "a": 1, "b": 1}),
        (["0", "größe", "a b", "a$b"], {"0": 1, "_id": 1, "a b": 1, "a$b": 1, "größe": 1}),
    ],
)
def test_a_projection_has_the_fields_and_the_id(fields: list[str], projection: dict[str, int]) -> None:
    assert projection_for(fields) == projection


@pytest.mark.parametrize("name", ["", "a.b", ".", "$a", "$$ROOT", "\ufffd", "a\ufffd", "a\0"])
def test_names_that_a_projection_cannot_have_mean_whole_documents(name: str) -> None:
    """MongoDB would take a dot for a path, a dollar sign for an operator, and cannot be told bytes
    that are not UTF-8."""
    assert projection_for(["other", name]) is None


def test_whole_documents_take_no_projection() -> None:
    assert projection_for(EVERYTHING) is None


INVALID_TEXT = b"\x02%s\0\x03\0\0\0\xff\xfe\0"
"""A field with a text that is not UTF-8."""
TWICE = b"\x10%s\0\x01\0\0\0\x10%s\0\x02\0\0\0"


@pytest.mark.parametrize(
    "unread",
    [undecodable_field("other"), INVALID_TEXT % b"other", TWICE % (b"other", b"other"), b"\x0a\xff\xfe\0"],
    ids=[
        "a binary that PyMongo does not decode",
        "a text that is no UTF-8",
        "two of one name",
        "a name that is no UTF-8",
    ],
)
@pytest.mark.parametrize("read", [bson.encode({"n": 1})[4:-1], undecodable_field("n"), INVALID_TEXT % b"n"])
def test_unread_fields_make_no_difference_to_rows_and_row_errors(unread: bytes, read: bytes) -> None:
    """Change events have whole documents, and look-ups only parts. (The embedded MongoDB stores no
    such document.)"""
    table = CompiledTable(Table("t", (Column("_id", "number"), Column("n", "string", optional=True)), ("_id",)))
    key = bson.encode({"_id": 1})[4:-1]
    made = []
    for stored in (document_of(key, unread, read), document_of(key, read)):
        errors: list[RowError] = []
        made.append((table.rows(decode_document(stored), errors), errors))
    assert made[0] == made[1]
    assert made[0][0]
