"""From the bytes of any document to the frame on the wire."""

import json
from typing import Any

import bson
from hypothesis import given
from hypothesis import strategies as st

from changesource.protocol.frames import TableFrames
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import COLUMN_TYPES, Column, Table
from changesource.tables.row_errors import RowError
from changesource.tables.values import CODEC_OPTIONS
from tests.mql import bson_values

TABLE = CompiledTable(
    Table("items", (Column("_id", "string"), *(Column(kind, kind, optional=True) for kind in COLUMN_TYPES)), ("_id",))
)
FRAMES = TableFrames(TABLE.spec)

PLACEHOLDER, INVALID = "ZQZQZQ", b"\xff\xc0\x80\xed\xa0\x80"
"""Text that is found again in a document's bytes, and bytes of that length that are no UTF-8: a stray one, an overlong
one, a surrogate."""

documents = st.fixed_dictionaries(
    {"_id": bson_values.values, **dict.fromkeys(COLUMN_TYPES, bson_values.values)},
    optional={"": bson_values.values, "other": bson_values.values},
)
broken_texts = st.recursive(
    st.sampled_from([PLACEHOLDER, "a" + PLACEHOLDER, bson.Code(PLACEHOLDER), bson.Regex(PLACEHOLDER), 2**60]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", PLACEHOLDER, "$ref"]), inner, max_size=3)
    ),
    max_leaves=8,
)
broken_documents = st.fixed_dictionaries({"_id": broken_texts, **dict.fromkeys(COLUMN_TYPES, broken_texts)})


@given(documents)
def test_any_document_gives_at_most_one_row(document: dict[str, Any]) -> None:
    """Its frame is one line of JSON that says the row."""
    expect_frame_of_row(bson.encode(document))


@given(broken_documents)
def test_a_document_with_invalid_text_gives_at_most_one_row(document: dict[str, Any]) -> None:
    """In values, in names of fields and in an _id."""
    expect_frame_of_row(bson.encode(document).replace(PLACEHOLDER.encode(), INVALID))


def expect_frame_of_row(stored: bytes) -> None:
    document = bson.decode(stored, CODEC_OPTIONS)
    errors: list[RowError] = []
    rows = TABLE.rows(document, errors)
    assert rows or errors
    key = TABLE.key(document["_id"])
    for row in rows:
        frame = FRAMES.upsert(row)
        assert b"\n" not in frame
        assert json.loads(frame)[1]["new"] == row
        assert key == {"_id": row["_id"]}
    if key is not None:
        assert json.loads(FRAMES.delete(key))[1]["key"] == key
