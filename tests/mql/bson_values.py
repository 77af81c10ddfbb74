"""Hypothesis strategies of BSON values, as PyMongo decodes them with the project's codec options."""

from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import strategies as st

text = st.text(alphabet=st.characters(codec="utf-8"), max_size=12)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20).map(
        lambda value: Decimal128(str(value))
    ),
    st.sampled_from(
        [
            Decimal128("1E+6144"),
            Decimal128("-0"),
            Decimal128("NaN"),
            Decimal128("sNaN"),
            Decimal128("-Infinity"),
            Decimal128("9007199254740993"),
        ]
    ),
    st.integers(-(2**63), 2**63 - 1).map(DatetimeMS),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.binary(min_size=12, max_size=12).map(ObjectId),
    st.builds(Binary, st.binary(max_size=20), st.sampled_from([0, 2, 3, 4, 5, 9, 128])),
    st.binary(min_size=16, max_size=16).map(lambda value: Binary(value, 4)),
    text,
    text.map(Code),
    st.builds(Regex, text.filter(lambda pattern: "\0" not in pattern), st.sampled_from(["", "i", "imsx"])),
    st.sampled_from([MinKey(), MaxKey()]),
    st.builds(DBRef, text.filter(bool), st.integers(0, 9)),
)

field_names = text.filter(lambda name: "\0" not in name)

values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(field_names, inner, max_size=4),
    max_leaves=12,
)
