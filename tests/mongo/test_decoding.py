"""decoding.py: documents with bytes that PyMongo refuses."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.errors import InvalidBSON

from changesource.errors import SourceUnusable
from changesource.mapping.bson_types import Undecodable
from changesource.mapping.values import CODEC_OPTIONS
from changesource.mongo.decoding import decode_batch, decode_document
from tests.mongo.undecodable import document_of, undecodable_field

EVERY_TYPE: dict[str, Any] = {
    "double": 1.5,
    "string": "a\0b",
    "object": {"a": 1},
    "array": [1, [2], {"a": 3}],
    "binary": Binary(b"\0\1", 5),
    "old binary": Binary(b"\0\1", 2),
    "uuid": Binary.from_uuid(UUID(int=7)),
    "objectId": ObjectId("65f000000000000000000001"),
    "bool": True,
    "date": datetime(2026, 1, 2, tzinfo=UTC),
    "null": None,
    "regex": Regex("a.b", 2),
    "dbRef": DBRef("city", 1),
    "code": Code("f()"),
    "code with scope": Code("f()", {"a": 1}),
    "int": 5,
    "timestamp": Timestamp(1, 2),
    "long": Int64(2**60),
    "decimal": Decimal128("0.5"),
    "min": MinKey(),
    "max": MaxKey(),
    "ä": "name of two bytes",
}


def elements_of(document: dict[str, Any]) -> bytes:
    return bson.encode(document)[4:-1]


def test_every_other_field_stays() -> None:
    """Next to a field that cannot be decoded, fields of all types are what they are without it."""
    raw = document_of(undecodable_field("a"), elements_of(EVERY_TYPE), undecodable_field("z"))
    with pytest.raises(InvalidBSON):
        bson.decode(raw, CODEC_OPTIONS)
    document = decode_document(raw)
    assert list(document) == ["a", *EVERY_TYPE, "z"]
    assert {name: document[name] for name in EVERY_TYPE} == bson.decode(bson.encode(EVERY_TYPE), CODEC_OPTIONS)
    assert [type(document[name]) for name in ("a", "z")] == [Undecodable, Undecodable]


def test_smallest_part() -> None:
    """Only the value itself is replaced, however deep it is."""
    inner = document_of(elements_of({"b": 1}), undecodable_field("c"))
    array = document_of(b"\x100\0\x07\0\0\0", b"\x031\0" + inner)
    document = decode_document(document_of(elements_of({"_id": 1}), b"\x04list\0" + array))
    assert document == {"_id": 1, "list": [7, {"b": 1, "c": Undecodable()}]}
    assert isinstance(document["list"][1]["c"], Undecodable)


def test_batch() -> None:
    """One such document leaves the others of its batch as they are."""
    batch = bson.encode({"_id": 1}) + document_of(undecodable_field("_id")) + bson.encode({"_id": 3})
    assert [document["_id"] for document in decode_batch(batch)] == [1, Undecodable(), 3]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x05\0\0",
        b"\x06\0\0\0\0\0\0",
        document_of(b"\x42a\0"),
        document_of(b"\x02a\0\xff\0\0\0"),
        document_of(b"\x02a\0\xff\xff\xff\x80"),
        document_of(b"\x0ba\0b"),
        document_of(b"\x10"),
        document_of(b"\x03a\0\x05\0\0\0"),
    ],
)
def test_no_bson(raw: bytes) -> None:
    """What is not BSON at all is said to be that."""
    with pytest.raises(SourceUnusable, match="not BSON"):
        decode_document(raw)
