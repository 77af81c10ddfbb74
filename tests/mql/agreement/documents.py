"""Documents whose fields mostly hold one kind of value each, so that operators of that kind find values to work on.

All values come from small pools, so that filters match and expressions meet edge cases: the ends of the number types, NaN,
minus zero, days on which clocks change, text beyond ASCII and beyond the Basic Multilingual Plane.
"""

from typing import Any

from bson import Binary, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import strategies as st

Values = st.SearchStrategy[Any]

FIELDS = {"n": "number", "m": "number", "s": "text", "t": "date", "l": "array", "o": "object", "b": "bool", "x": "any"}
"""Fields of a document, and the kind of value that each has in most documents."""

NAMES = ("n", "s", "l", "k", "v")
"""Fields of objects inside documents."""

numbers = st.sampled_from(
    [
        *(0, 1, 2, 3, -1, -7, 10, 100, 2**31 - 1, -(2**31)),
        *map(Int64, (0, 1, 2, 2**31, 2**53, -(2**63))),
        *(0.0, -0.0, 1.0, 1.5, 2.5, -2.5, -7.5, 0.1, 2.0**-20, 1e16, 2.0**53),
        *(float("nan"), float("inf"), float("-inf")),
        *map(Decimal128, ("1", "1.50", "2.5", "-7", "0.1", "1E+3", "NaN", "Infinity")),
    ]
)
large_numbers = st.sampled_from(
    [1e300, Int64(2**53 + 1), Int64(2**63 - 1), Decimal128("9007199254740993"), Decimal128("1E+40")]
)
"""These are not in documents, because the server's $mod calculates in doubles."""
small_numbers = st.sampled_from([0, 1, 2, 3, -1, -2, Int64(1), 1.0, 1.5, Decimal128("2")])
texts = st.sampled_from(
    [
        *("", "a", "b", "ab", "abc", "A", "ABC", " a ", "a-b-a", "\t\n", "a\nb"),
        *("é", "É", "ß", "日本", "😀a", "e\u0301", "\u00a0a"),
        *("0", "1", "-7", "1.5", "1e3", "NaN", "true", "n", "s", "507f1f77bcf86cd799439011"),
        *("2024-02-29", "2024-05-01T12:30:00Z", "2024-05-01T12:30:00.123+02:00"),
    ]
)
dates = st.sampled_from(
    [
        *(0, 1, -1, 999, 86_399_999, -86_400_001),
        1_709_164_800_000,  # 2024-02-29
        1_711_846_799_999,  # 2024-03-31, the last millisecond before summer time in Paris
        1_711_846_800_000,
        1_730_595_600_000,  # 2024-11-03, the hour that New York has twice
        1_704_067_199_999,  # 2023-12-31
        1_609_459_200_000,  # 2021-01-01, in an ISO week of 2020
        -946_771_200_000,  # 1940-01-01: time zones have no odd seconds since, and years four digits
        253_402_300_799_999,  # 9999-12-31
    ]
).map(DatetimeMS)
identifiers = st.sampled_from(["507f1f77bcf86cd799439011", "65f000000000000000000001"]).map(ObjectId)
binaries = st.sampled_from([Binary(b""), Binary(b"a"), Binary(b"ab"), Binary(b"b" * 16, 4)])
"""The longer ones are also greater byte by byte, which is how the server's filters compare them."""
regexes = st.sampled_from([Regex("a"), Regex("^a", "i"), Regex("A", "im")])
others = st.one_of(
    identifiers,
    binaries,
    regexes,
    st.sampled_from([Timestamp(0, 1), Timestamp(1_700_000_000, 5), MinKey(), MaxKey()]),
)
scalars = st.one_of(numbers, texts, st.none(), st.booleans(), dates, others)


def arrays(items: Values) -> Values:
    return st.one_of(
        st.lists(items, max_size=4),
        st.lists(small_numbers, max_size=4),
        st.lists(texts, max_size=3),
        st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, items)), max_size=3),
        st.lists(st.lists(items, max_size=2), max_size=2),
        st.lists(st.fixed_dictionaries({"k": texts, "v": items}), max_size=2),
        st.lists(st.tuples(texts, items).map(list), max_size=2),
    )


def objects(items: Values) -> Values:
    return st.dictionaries(st.sampled_from([*NAMES, "0", "a b"]), items, max_size=3)


nested = st.recursive(scalars, lambda items: st.one_of(arrays(items), objects(items)), max_leaves=5)

KINDS = {
    "number": numbers,
    "text": texts,
    "date": dates,
    "array": arrays(nested),
    "object": objects(nested),
    "bool": st.booleans(),
    "any": nested,
}


_ABSENT = object()


def of_kind(kind: str) -> Values:
    """A field with mostly values of the kind, and sometimes any value, null, or none."""
    others = {0: nested, 1: st.none(), 2: st.just(_ABSENT)}
    return st.integers(0, 9).flatmap(lambda chance: others.get(chance, KINDS[kind]))


fields = st.fixed_dictionaries({name: of_kind(kind) for name, kind in FIELDS.items()}).map(
    lambda found: {name: value for name, value in found.items() if value is not _ABSENT}
)
batches = st.lists(fields, min_size=1, max_size=6).map(
    lambda found: [{"_id": number, **members} for number, members in enumerate(found)]
)
"""The documents of a collection."""
