"""Raw BSON → documents, in a way that no value stops the stream: a value that cannot be decoded
becomes `Undecodable`.

MongoDB checks the structure of what it stores, but not every value. A binary of subtype 2, for
instance, has a second length inside, which may be wrong; PyMongo then refuses the whole document,
or the whole reply that holds it. Nor need text be UTF-8. Other bytes become U+FFFD, except in the
`_id` of a document: two ids could then become equal, and neither would be found.

A reply of MongoDB has up to 16 MB. PyMongo takes up to a second to decode that, in one call that
holds the interpreter. So anything longer than `PIECE_BYTES` is decoded in pieces, and other tasks
run in between.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from enum import Enum, auto
from struct import Struct
from typing import Any, NamedTuple, TypeVar

import bson
from bson.errors import InvalidBSON

from changesource.errors import SourceUnusable
from changesource.mql import Undecodable
from changesource.tables.values import CODEC_OPTIONS
from changesource.tasks import LoopShare

PIECE_BYTES = 64 * 1024
"""How many bytes are decoded at once: this takes 0.5 to 6 ms, depending on the values."""

_STRICT = CODEC_OPTIONS.with_options(unicode_decode_error_handler="strict")
_ERRORS_OF_NAMES = ("replace", "backslashreplace")
"""How names of fields are decoded outside of an `_id` and inside, where none may become equal."""
_ID = "_id"
_DOCUMENTS_OF_EVENT = frozenset({"documentKey", "fullDocument", "fullDocumentBeforeChange"})

_TEXT, _DOCUMENT, _ARRAY = 0x02, 0x03, 0x04
_SIZES = {
    0x01: 8,  # double
    0x06: 0,  # undefined
    0x07: 12,  # ObjectId
    0x08: 1,  # boolean
    0x09: 8,  # date
    0x0A: 0,  # null
    0x10: 4,  # int32
    0x11: 8,  # timestamp
    0x12: 8,  # int64
    0x13: 16,  # decimal128
    0x7F: 0,  # MaxKey
    0xFF: 0,  # MinKey
}
_SIZES_BESIDE_LENGTH = {0x02: 4, 0x03: 0, 0x04: 0, 0x05: 5, 0x0C: 16, 0x0D: 4, 0x0E: 4, 0x0F: 0}
"""The bytes of a value that the length at its beginning does not count: string, document, array,
binary, DBPointer, code, symbol, code with scope."""
_REGEX = 0x0B
_LENGTH = Struct("<i")

T = TypeVar("T")


class _Place(Enum):
    """Where a value is: it is a document of MongoDB, which has an `_id`; it is an `_id` or inside
    one; or it is elsewhere."""

    DOCUMENT = auto()
    ID = auto()
    ELSEWHERE = auto()

    def of_field(self, name: str) -> _Place:
        if self is _Place.ID or (self is _Place.DOCUMENT and name == _ID):
            return _Place.ID
        return _Place.DOCUMENT if name in _DOCUMENTS_OF_EVENT else _Place.ELSEWHERE

    @property
    def of_item(self) -> _Place:
        return _Place.ID if self is _Place.ID else _Place.ELSEWHERE


async def decode_document_in_pieces(raw: bytes) -> dict[str, Any]:
    """Does what `decode_document` does. A large document does not hold up the event loop."""
    if len(raw) <= PIECE_BYTES:
        return decode_document(raw)
    return await _sharing_the_loop(_decode_large(raw))


async def decode_batch_in_pieces(raw: bytes) -> list[dict[str, Any]]:
    """Does what `decode_batch` does, without holding up the event loop."""
    if len(raw) <= PIECE_BYTES:
        return decode_batch(raw)
    return await _sharing_the_loop(_decode_large_batch(raw))


async def _sharing_the_loop(steps: Generator[None, None, T]) -> T:
    share = LoopShare()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            decoded: T = end.value
            return decoded
        if share.is_used_up:
            await share.yield_control()


def decode_document(raw: bytes, place: _Place = _Place.DOCUMENT) -> dict[str, Any]:
    """Returns the document of these bytes. Raises `SourceUnusable` if they are not BSON at all."""
    try:
        return bson.decode(raw, _STRICT)
    except InvalidBSON:
        return _decode_by_field(raw, place)


def decode_batch(raw: bytes) -> list[dict[str, Any]]:
    """Returns the documents of these bytes, which are one after the other. Raises what
    `decode_document` raises."""
    try:
        return bson.decode_all(raw, _STRICT)
    except InvalidBSON:
        return [decode_document(document) for document in split_batch(raw)]


def split_batch(raw: bytes) -> Iterator[bytes]:
    """Yields the bytes of each document. Raises what `decode_document` raises."""
    start = 0
    while start < len(raw):
        end = start + _length_at(raw, start)
        yield raw[start:end]
        start = end


def _decode_large_batch(raw: bytes) -> Generator[None, None, list[dict[str, Any]]]:
    documents: list[dict[str, Any]] = []
    start = end = 0
    while end < len(raw):
        document, end = end, end + _length_at(raw, end)
        if end - start > PIECE_BYTES:
            documents += decode_batch(raw[start:document])
            start = document
            if end - start > PIECE_BYTES:
                documents.append((yield from _decode_large(raw, start)))
                start = end
            yield
    documents += decode_batch(raw[start:end])
    return documents


def _decode_large(raw: bytes, start: int = 0, place: _Place = _Place.DOCUMENT) -> Generator[None, None, dict[str, Any]]:
    document: dict[str, Any] = {}
    for piece in _pieces(raw, start):
        if piece.value:
            name = raw[piece.start + 1 : piece.value - 1].decode(errors=_ERRORS_OF_NAMES[place is _Place.ID])
            document[name] = yield from _decode_large_value(raw, piece, place.of_field(name))
        else:
            document.update(decode_document(_document_of(raw[piece.start : piece.end]), place))
        yield
    return document


def _decode_large_array(raw: bytes, start: int, place: _Place) -> Generator[None, None, list[Any]]:
    values: list[Any] = []
    for piece in _pieces(raw, start):
        if piece.value:
            values.append((yield from _decode_large_value(raw, piece, place)))
        else:
            values += _decode_elements(raw[piece.start : piece.end], place)
        yield
    return values


def _decode_large_value(raw: bytes, piece: _Piece, place: _Place) -> Generator[None, None, Any]:
    if raw[piece.start] == _DOCUMENT:
        return (yield from _decode_large(raw, piece.value, place))
    return (yield from _decode_large_array(raw, piece.value, place.of_item))


def _decode_elements(elements: bytes, place: _Place) -> list[Any]:
    """Decodes the elements of an array, whose names mean nothing."""
    size = len(elements)
    head = _LENGTH.pack(size + 12) + b"\x04\0" + _LENGTH.pack(size + 5)
    values: list[Any] = decode_document(b"".join((head, elements, b"\0\0")), place)[""]
    return values


class _Piece(NamedTuple):
    """Some fields of a document that are decoded together. Or, if `value` is given, one field whose
    value begins there: a document or an array that is itself decoded in pieces."""

    start: int
    end: int
    value: int = 0


def _pieces(raw: bytes, document: int) -> Iterator[_Piece]:
    """Yields the pieces of the document that begins at `document`."""
    last = document + _length_at(raw, document) - 1
    if raw[last] != 0:
        raise _no_bson()
    start = end = document + 4
    find, sizes, integer = raw.find, _SIZES, int.from_bytes
    while end < last:
        element = end
        # The most frequent kinds take no function call: an array may have a million elements.
        kind = raw[end]
        if kind == _DOCUMENT:
            value = find(0, end + 1) + 1
            end = value + integer(raw[value : value + 4], "little", signed=True)
        elif (size := sizes.get(kind)) is not None:
            end = find(0, end + 1) + 1 + size
        else:
            end = _end_of_element(raw, end)
        if not element < end <= last:
            raise _no_bson()
        if end - start > PIECE_BYTES:
            if start < element:
                yield _Piece(start, element)
                start = element
            if end - start > PIECE_BYTES:
                yield _Piece(start, end, _value_to_cut(raw, start))
                start = end
    if start < end:
        yield _Piece(start, end)


def _value_to_cut(raw: bytes, element: int) -> int:
    """Returns where the element's value begins if it is an array, or a document that PyMongo would
    not make a `DBRef`; else 0."""
    value = _end_of_text(raw, element + 1)
    is_cut = raw[element] == _ARRAY or (raw[element] == _DOCUMENT and raw[value + 5 : value + 10] != b"$ref\0")
    return value if is_cut else 0


def _decode_by_field(raw: bytes, place: _Place) -> dict[str, Any]:
    return dict(_decode_element(element, place) for element in _elements(raw))


def _decode_element(element: bytes, place: _Place) -> tuple[str, Any]:
    """Returns name and value. The smallest part that cannot be decoded is replaced."""
    try:
        ((name, value),) = bson.decode(_document_of(element), _STRICT).items()
    except InvalidBSON:
        return _decode_leniently(element, place)
    return name, value


def _decode_leniently(element: bytes, place: _Place) -> tuple[str, Any]:
    end = element.index(0, 1)
    kind, raw = element[0], element[end + 1 :]
    name = element[1:end].decode(errors=_ERRORS_OF_NAMES[place is _Place.ID])
    inner = place.of_field(name)
    if place is _Place.ID and name.encode() != element[1:end]:
        return name, Undecodable(raw)
    if kind == _DOCUMENT:
        return name, _decode_by_field(raw, inner)
    if kind == _ARRAY:
        return name, list(_decode_by_field(raw, inner.of_item).values())
    if inner is _Place.ID:
        return name, Undecodable(raw[4:-1] if kind == _TEXT else raw)
    try:
        return name, bson.decode(_document_of(element), CODEC_OPTIONS)[name]
    except InvalidBSON:
        return name, Undecodable()


def _document_of(element: bytes) -> bytes:
    return (len(element) + 5).to_bytes(4, "little") + element + b"\0"


def _elements(document: bytes) -> Iterator[bytes]:
    """Yields the bytes of each field: type, name and value."""
    if _length_at(document, 0) != len(document) or document[-1] != 0:
        raise _no_bson()
    start, last = 4, len(document) - 1
    while start < last:
        end = _end_of_element(document, start)
        if end > last:
            raise _no_bson()
        yield document[start:end]
        start = end


def _end_of_element(document: bytes, start: int) -> int:
    value = _end_of_text(document, start + 1)
    kind = document[start]
    if kind in _SIZES:
        return value + _SIZES[kind]
    if kind in _SIZES_BESIDE_LENGTH:
        size = _SIZES_BESIDE_LENGTH[kind] + int.from_bytes(document[value : value + 4], "little", signed=True)
        if size >= 0:
            return value + size
    if kind == _REGEX:
        return _end_of_text(document, _end_of_text(document, value))
    raise _no_bson()


def _end_of_text(document: bytes, start: int) -> int:
    """Returns the index after the zero byte that ends the text."""
    end = document.find(0, start)
    if end < 0:
        raise _no_bson()
    return end + 1


def _length_at(raw: bytes, start: int) -> int:
    length = int.from_bytes(raw[start : start + 4], "little", signed=True)
    if length < 5 or start + length > len(raw):
        raise _no_bson()
    return length


def _no_bson() -> SourceUnusable:
    return SourceUnusable("MongoDB sent a document that is not BSON. Run validate on the collections of the source.")
