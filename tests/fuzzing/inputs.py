"""Values from a fuzzer's bytes: the same bytes always give the same values, and any bytes give some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from bson import Binary, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

T = TypeVar("T")

MAX_MEMBERS = 4
FIELDS = ("_id", "a", "b", "a.b", "a.0", "items", "items.k", "0", "$a", "", "é", "a\0b", "__proto__")
TEXTS = (
    "",
    "a",
    "ab",
    "$a",
    "$a.b",
    "$items.k",
    "$$ROOT",
    "$$CURRENT.a",
    "$$this",
    "$$value",
    "$$x",
    "$$REMOVE",
    "$$NOW",
)
PATTERNS = (
    "a",
    "^a",
    "(a+)+$",
    "(?:a|a)*b",
    "[",
    "(?R)",
    "\\1",
    "\\x{ffff}",
    "a{1000}{1000}",
    "(?i)É",
    "(*UTF)",
    "\\C",
)


class Bytes:
    """Takes values from the front of the bytes. When nothing is left, every value is zero, empty or the first choice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._next = 0

    def byte(self) -> int:
        if self._next >= len(self._data):
            return 0
        self._next += 1
        return self._data[self._next - 1]

    def choose(self, choices: Sequence[T]) -> T:
        return choices[(self.byte() << 8 | self.byte() if len(choices) > 256 else self.byte()) % len(choices)]

    def integer(self, size: int) -> int:
        """A signed integer of `size` bytes."""
        return int.from_bytes(bytes(self.byte() for _ in range(size)), "big", signed=True)

    def text(self) -> str:
        """Any text without lone surrogates, at most 15 bytes long."""
        return bytes(self.byte() for _ in range(self.byte() % 16)).decode(errors="replace")

    def members(self, make: Callable[[], T]) -> list[T]:
        return [make() for _ in range(self.byte() % (MAX_MEMBERS + 1))]

    def name(self) -> str:
        return self.choose(FIELDS) if self.byte() % 8 else self.text()


def bson_value(data: Bytes, depth: int = 3) -> Any:
    """A value as PyMongo decodes documents."""
    makers: Sequence[Callable[[], Any]] = (
        lambda: None,
        lambda: data.choose((False, True)),
        lambda: data.integer(1),
        lambda: data.integer(4),
        lambda: Int64(data.integer(8)),
        lambda: data.choose((0.0, -0.0, 0.5, 1e300, 5e-324, float("nan"), float("inf"), -float("inf"))),
        lambda: Decimal128(data.choose(("0", "-0", "1.5", "1E+6144", "NaN", "sNaN", "-Infinity", "1E-6176"))),
        lambda: data.choose(TEXTS),
        lambda: data.text(),
        lambda: "a" * data.byte() + "b",
        lambda: DatetimeMS(data.integer(8)),
        lambda: DatetimeMS(data.integer(5)),
        lambda: Timestamp(data.byte(), data.byte()),
        lambda: ObjectId(bytes([data.byte()]) * 12),
        lambda: Binary(bytes([data.byte()]) * 16, data.choose((0, 3, 4, 128))),
        lambda: Regex(data.choose(PATTERNS), data.choose(("", "i", "imsx"))),
        lambda: data.choose((MinKey(), MaxKey())),
        lambda: data.members(lambda: bson_value(data, depth - 1)),
        lambda: dict(data.members(lambda: (data.name().replace("\0", ""), bson_value(data, depth - 1)))),
    )
    return data.choose(makers if depth > 0 else makers[:-2])()


def document(data: Bytes) -> dict[str, Any]:
    """A document as it comes from a collection."""
    names = ("a", "b", "items", "0", "", "é")
    found = {name: bson_value(data) for name in names if data.byte() % 2}
    return {"_id": bson_value(data, 1), **found}
