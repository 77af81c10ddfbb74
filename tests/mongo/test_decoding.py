"""decoding.py: documents with bytes that PyMongo refuses."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch
from uuid import UUID

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.errors import InvalidBSON
from hypothesis import given
from hypothesis import strategies as st

from changesource.errors import SourceUnusable
from changesource.mongo import decoding
from changesource.mongo.decoding import (
    decode_batch,
    decode_batch_in_pieces,
    decode_document,
    decode_document_in_pieces,
)
from changesource.mql.bson_types import Undecodable
from changesource.tables.document_ids import is_readable
from changesource.tables.values import CODEC_OPTIONS
from tests.mongo.undecodable import WRONG_BINARY, document_of, undecodable_field

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


def test_fields_beside_an_undecodable_one_are_unchanged() -> None:
    """Fields of all types."""
    raw = document_of(undecodable_field("a"), elements_of(EVERY_TYPE), undecodable_field("z"))
    with pytest.raises(InvalidBSON):
        bson.decode(raw, CODEC_OPTIONS)
    document = decode_document(raw)
    assert list(document) == ["a", *EVERY_TYPE, "z"]
    assert {name: document[name] for name in EVERY_TYPE} == bson.decode(bson.encode(EVERY_TYPE), CODEC_OPTIONS)
    assert [type(document[name]) for name in ("a", "z")] == [Undecodable, Undecodable]


def test_only_the_undecodable_value_is_replaced() -> None:
    """However deep it is."""
    inner = document_of(elements_of({"b": 1}), undecodable_field("c"))
    array = document_of(b"\x100\0\x07\0\0\0", b"\x031\0" + inner)
    document = decode_document(document_of(elements_of({"_id": 1}), b"\x04list\0" + array))
    assert document == {"_id": 1, "list": [7, {"b": 1, "c": Undecodable()}]}
    assert isinstance(document["list"][1]["c"], Undecodable)


def test_other_documents_of_the_batch_are_unchanged() -> None:
    batch = bson.encode({"_id": 1}) + document_of(undecodable_field("_id")) + bson.encode({"_id": 3})
    assert [document["_id"] for document in decode_batch(batch)] == [1, Undecodable(WRONG_BINARY), 3]


def spoil(document: dict[str, Any]) -> bytes:
    """Returns the document's bytes with a byte that is not UTF-8 in place of each plus sign."""
    return bson.encode(document).replace(b"+", b"\xff")


def test_text_that_is_not_utf8_gets_u_fffd() -> None:
    """But not in the `_id` of the document, which keeps its own bytes."""
    document = decode_document(spoil({"_id": "a+", "name": "b+", "inner": {"_id": "c+", "+": Code("f+")}}))
    assert document == {
        "_id": Undecodable(b"a\xff"),
        "name": "b\ufffd",
        "inner": {"_id": "c\ufffd", "\ufffd": Code("f\ufffd")},
    }
    inner = decode_document(spoil({"_id": {"a": 1, "b": ["x", "y+"], "+": 5}, "name": "ok"}))
    number = Undecodable(b"\5\0\0\0")
    assert not is_readable(decode_document(spoil({"_id": {"+": {"a": 1}}}))["_id"])
    assert inner == {"_id": {"a": 1, "b": ["x", Undecodable(b"y\xff")], r"\xff": number}, "name": "ok"}


@pytest.mark.parametrize("piece_bytes", [10, 40, 100, 10_000])
async def test_ids_in_change_events_keep_their_bytes(piece_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The documents of change events have ids, and so have their keys; nothing else in a reply
    has."""
    monkeypatch.setattr(decoding, "PIECE_BYTES", piece_bytes)
    event = {
        "_id": {"_data": "token"},
        "documentKey": {"region": "r+", "_id": "a+"},
        "fullDocument": {"_id": "a+", "name": "n+", "list": [{"_id": "l+"}, {"a": {"_id": "m+"}}], "long": "x" * 50},
        "fullDocumentBeforeChange": {"_id": {"a": "a+"}},
        "updateDescription": {"updatedFields": {"_id": "u+"}},
    }
    reply = await decode_document_in_pieces(spoil({"cursor": {"nextBatch": [event, {"documentKey": {"_id": 1}}]}}))
    [found, other] = reply["cursor"]["nextBatch"]
    replaced = "\N{REPLACEMENT CHARACTER}"
    assert found["documentKey"] == {"region": f"r{replaced}", "_id": Undecodable(b"a\xff")}
    assert found["fullDocument"] == {
        "_id": Undecodable(b"a\xff"),
        "name": f"n{replaced}",
        "list": [{"_id": f"l{replaced}"}, {"a": {"_id": f"m{replaced}"}}],
        "long": "x" * 50,
    }
    assert found["fullDocumentBeforeChange"] == {"_id": {"a": Undecodable(b"a\xff")}}
    assert found["updateDescription"] == {"updatedFields": {"_id": f"u{replaced}"}}
    assert other == {"documentKey": {"_id": 1}}


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
def test_bytes_that_are_not_bson_are_refused(raw: bytes) -> None:
    with pytest.raises(SourceUnusable, match="not BSON"):
        decode_document(raw)


# In pieces


NAMES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**31), 2**31 - 1),
        st.floats(allow_nan=False),
        st.text(max_size=20),
        st.binary(max_size=20),
        st.sampled_from([*EVERY_TYPE.values(), DBRef("city", "x" * 50)]),
    ),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(NAMES, children, max_size=5),
    max_leaves=15,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine without an event loop, which would take most of the time."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as end:
        return end.value


@given(st.lists(DOCUMENTS, max_size=4), st.integers(1, 80))
def test_pieces_of_any_size_make_the_same_documents(documents: list[dict[str, Any]], piece_bytes: int) -> None:
    """However small the pieces are, even within arrays and documents."""
    encoded = [bson.encode(document) for document in documents]
    with patch.object(decoding, "PIECE_BYTES", piece_bytes):
        found = run(decode_batch_in_pieces(b"".join(encoded)))
        assert [repr(each) for each in found] == [repr(bson.decode(each, CODEC_OPTIONS)) for each in encoded]
        for each in encoded:
            document = run(decode_document_in_pieces(each))
            assert repr(document) == repr(bson.decode(each, CODEC_OPTIONS))


@pytest.mark.parametrize("piece_bytes", [1, 10, 30, 100, 1000])
async def test_in_pieces_only_the_undecodable_value_is_replaced(
    piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a document that is decoded at once."""
    monkeypatch.setattr(decoding, "PIECE_BYTES", piece_bytes)
    inner = document_of(elements_of({"a": [1] * 5}), undecodable_field("b"), elements_of({"c": "x" * 50}))
    raw = document_of(b"\x04list\0" + document_of(b"\x030\0" + inner, undecodable_field("1")), undecodable_field("z"))
    assert await decode_document_in_pieces(raw) == decode_document(raw)
    assert await decode_batch_in_pieces(raw * 3) == decode_batch(raw * 3)


@pytest.mark.parametrize(
    "raw", [b"", b"\x05", b"\x04\0\0\0", b"\xff\0\0\0\0", bson.encode({"a": [1] * 90_000})[:-1] + b"\1"]
)
async def test_in_pieces_bytes_that_are_not_bson_are_refused(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "PIECE_BYTES", -1)
    with pytest.raises(SourceUnusable):
        await decode_document_in_pieces(raw)


@pytest.mark.parametrize(
    "build_document",
    [
        lambda: {"a": list(range(300_000))},
        lambda: {"a": [{"b": number, "c": {"d": number}} for number in range(120_000)]},
        lambda: {"a": {str(number): [number] for number in range(200_000)}},
    ],
    ids=["numbers", "documents", "fields"],
)
async def test_a_large_document_does_not_hold_up_the_event_loop(build_document: Callable[[], dict[str, Any]]) -> None:
    """Other tasks run in between."""
    document = build_document()
    raw = bson.encode(document)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(take_turns())
    assert await decode_document_in_pieces(raw) == document
    other.cancel()
    assert turns > 5
