"""$add $subtract $multiply $divide $mod $abs $floor $ceil $round $trunc."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bson import DatetimeMS, Decimal128, Int64
from hypothesis import given
from hypothesis import strategies as st

from changesource.mql.bson_types import NUMBERS, is_truthy, type_name
from changesource.mql.errors import MqlError
from tests.mql.expressions.evaluation import compiled, evaluated, exactly

INT, LONG = 2**31 - 1, 2**63 - 1
NAN, INFINITY = math.nan, math.inf
ARITHMETIC = ["$add", "$subtract", "$multiply", "$divide", "$mod"]
OF_ONE = ["$abs", "$floor", "$ceil", "$round", "$trunc"]


def D(text: str) -> Decimal128:
    return Decimal128(text)


def expect(name: str, arguments: list[Any], expected: Any) -> None:
    document = {f"a{index}": value for index, value in enumerate(arguments)}
    assert exactly(evaluated({name: [f"${field}" for field in document]}, document)) == exactly(expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], 0),
        ([5], 5),
        ([1, 2, 3], 6),
        ([INT, 1], Int64(INT + 1)),
        ([INT, 1, -1], INT),
        ([1, Int64(2)], Int64(3)),
        ([Int64(LONG), 1], 2.0**63),
        ([Int64(LONG), 1, Int64(-LONG)], 2.0**63 - float(LONG)),
        ([1, 0.5], 1.5),
        ([0.1, 0.2], 0.30000000000000004),
        ([INFINITY, -INFINITY], NAN),
        ([1, D("0.10")], D("1.10")),
        ([D("1"), 0.1], D("1.100000000000000")),
        ([0.5, D("1"), Int64(1)], D("2.500000000000000")),
        ([D("9.999999999999999999999999999999999E+6144"), D("1E+6144")], D("Infinity")),
        ([D("1234567890123456789012345678901234"), D("0.5")], D("1234567890123456789012345678901234")),
        ([D("sNaN"), 1], D("NaN")),
    ],
)
def test_a_sum_has_the_widest_type(arguments: list[Any], expected: Any) -> None:
    """An int becomes a long, and a long a double, where it overflows."""
    expect("$add", arguments, expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([DatetimeMS(1000), 500], 1500),
        ([500, DatetimeMS(1000), Int64(1)], 1501),
        ([datetime(1970, 1, 1, tzinfo=UTC), 5], 5),
        ([datetime(1970, 1, 1), 5], 5),
        ([DatetimeMS(0), 2.5], 3),
        ([DatetimeMS(0), -2.5], -3),
        ([DatetimeMS(0), D("2.5")], 2),
        ([DatetimeMS(0), 0.4, 0.4], 0),
        ([0.4, 0.4, DatetimeMS(0)], 1),
        ([DatetimeMS(-(2**63)), Int64(LONG)], -1),
    ],
)
def test_numbers_are_added_to_a_date_as_milliseconds(arguments: list[Any], expected: int) -> None:
    """After the date each number is rounded by itself; before it, their sum is."""
    expect("$add", arguments, DatetimeMS(expected))


@pytest.mark.parametrize(
    "arguments",
    [
        [DatetimeMS(0), DatetimeMS(0)],
        [DatetimeMS(1), Int64(LONG)],
        [Int64(LONG), DatetimeMS(1)],
        [DatetimeMS(0), NAN],
        [DatetimeMS(0), 2.0**63],
        [DatetimeMS(0), D("Infinity")],
        [DatetimeMS(0), D("sNaN")],
        [DatetimeMS(0), D("1E+6000")],
    ],
)
def test_some_sums_with_dates_are_errors(arguments: list[Any]) -> None:
    """Two dates have no sum, and a date beyond 64 bits does not exist."""
    with pytest.raises(MqlError):
        evaluated({"$add": ["$a", "$b"]}, dict(zip("ab", arguments, strict=True)))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (3, 5, -2),
        (-INT, 2, Int64(-INT - 2)),
        (Int64(5), 3, Int64(2)),
        (Int64(-LONG), 3, -(2.0**63)),
        (1, 0.5, 0.5),
        (1, D("0.50"), D("0.50")),
        (1.5, D("1"), D("0.50000000000000")),
        (DatetimeMS(5), DatetimeMS(7), Int64(-2)),
        (datetime(1970, 1, 2, tzinfo=UTC), DatetimeMS(0), Int64(86_400_000)),
        (DatetimeMS(5), 7, DatetimeMS(-2)),
        (DatetimeMS(5), Int64(7), DatetimeMS(-2)),
        (DatetimeMS(5), 2.5, DatetimeMS(2)),
        (DatetimeMS(5), D("2.5"), DatetimeMS(3)),
    ],
)
def test_a_difference_of_dates_is_a_long(left: Any, right: Any, expected: Any) -> None:
    """The difference of a date and a number is a date."""
    expect("$subtract", [left, right], expected)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (5, DatetimeMS(5)),
        (DatetimeMS(5), "x"),
        (DatetimeMS(-(2**63)), 1),
        (DatetimeMS(2**63 - 1), DatetimeMS(-1)),
        (True, 1),
    ],
)
def test_some_differences_are_errors(left: Any, right: Any) -> None:
    """A date cannot be subtracted from a number, and a difference cannot leave the 64 bits."""
    with pytest.raises(MqlError):
        evaluated({"$subtract": ["$a", "$b"]}, {"a": left, "b": right})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], 1),
        ([3, -4], -12),
        ([INT, 2], Int64(2 * INT)),
        ([INT, INT, 0], 0),
        ([2, Int64(3)], Int64(6)),
        ([Int64(LONG), 2], float(LONG) * 2),
        ([Int64(LONG), 2, 0], 0.0),
        ([2, 0.5], 1.0),
        ([INFINITY, 0], NAN),
        ([2, D("1.50")], D("3.00")),
        ([0.1, D("3")], D("0.300000000000000")),
        ([Int64(LONG), 2, D("1")], D("1.84467440737096E+19")),
        ([D("9E+6144"), 10], D("Infinity")),
    ],
)
def test_a_product_has_the_widest_type(arguments: list[Any], expected: Any) -> None:
    """A long that overflows becomes a double, and stays one."""
    expect("$multiply", arguments, expected)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (6, 3, 2.0),
        (Int64(1), 4, 0.25),
        (-1, INFINITY, -0.0),
        (NAN, 2, NAN),
        (1, D("3"), D("0.3333333333333333333333333333333333")),
        (D("6.0"), 3, D("2.0")),
        (1.0, D("2"), D("0.50000000000000")),
    ],
)
def test_a_quotient_is_a_double_or_a_decimal(left: Any, right: Any, expected: Any) -> None:
    """It is a decimal where an argument is one."""
    expect("$divide", [left, right], expected)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (7, 3, 1),
        (-7, 3, -1),
        (7, -3, 1),
        (Int64(-(2**63)), -1, Int64(0)),
        (Int64(2**62 + 1), 2**31 - 1, Int64((2**62 + 1) % (2**31 - 1))),
        (7, Int64(4), Int64(3)),
        (-7.5, 2, -1.5),
        (6, 3.0, 0.0),
        (-6.0, 3, -0.0),
        (INFINITY, 2, NAN),
        (NAN, 2, NAN),
        (5, INFINITY, 5.0),
        (D("-7.5"), 2, D("-1.5")),
        (7, D("2.50"), D("2.00")),
        (D("1E+6144"), 7, D("1")),
        (D("Infinity"), 7, D("NaN")),
    ],
)
def test_a_remainder_has_the_sign_of_the_dividend(left: Any, right: Any, expected: Any) -> None:
    """It has the type of the wider argument, and is exact."""
    expect("$mod", [left, right], expected)


@pytest.mark.parametrize("name", ["$divide", "$mod"])
@pytest.mark.parametrize("zero", [0, 0.0, -0.0, Int64(0), D("0E+10"), D("-0")])
def test_division_by_zero_is_an_error(name: str, zero: Any) -> None:
    """It is an error of the document or, for constants, of the mapping."""
    for left in (1, 1.0, D("1")):
        with pytest.raises(MqlError, match="by zero"):
            evaluated({name: ["$a", "$b"]}, {"a": left, "b": zero})
    with pytest.raises(MqlError, match="by zero"):
        compiled({name: [1, zero]})


@pytest.mark.parametrize("name", ARITHMETIC)
def test_null_and_missing_give_null(name: str) -> None:
    """For every operator."""
    for document in ({"a": 1}, {"b": 1}, {"a": None, "b": DatetimeMS(0) if name == "$add" else 1}, {}):
        assert evaluated({name: ["$a", "$b"]}, document) is None


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("value", ["1", True, [1], {"a": 1}, b"1"])
def test_a_value_that_is_not_a_number_is_an_error(name: str, value: Any) -> None:
    """The error names its type. True is not 1."""
    for document in ({"a": 1, "b": value}, {"a": value, "b": 1}):
        with pytest.raises(MqlError, match=type_name(value)):
            evaluated({name: ["$a", "$b"]}, document)


def test_sums_and_products_stop_at_the_first_null_or_error() -> None:
    """The other operators give null if one argument is null."""
    document = {"text": "x"}
    for name in ("$add", "$multiply"):
        assert evaluated({name: ["$null", "$text"]}, document) is None
        with pytest.raises(MqlError):
            evaluated({name: ["$text", "$null"]}, document)
    for name in ("$subtract", "$divide", "$mod"):
        assert evaluated({name: ["$text", "$null"]}, document) is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("$abs", -5, 5),
        ("$abs", -(2**31), Int64(2**31)),
        ("$abs", Int64(-5), Int64(5)),
        ("$abs", -0.0, 0.0),
        ("$abs", D("-1.50"), D("1.50")),
        ("$floor", 5, 5),
        ("$floor", Int64(5), Int64(5)),
        ("$floor", -1.5, -2.0),
        ("$floor", 1e300, 1e300),
        ("$floor", -0.0, -0.0),
        ("$floor", NAN, NAN),
        ("$floor", INFINITY, INFINITY),
        ("$floor", D("-1.2"), D("-2")),
        ("$floor", D("1E+3"), D("1000")),
        ("$floor", D("Infinity"), D("NaN")),
        ("$ceil", D("1E+34"), D("NaN")),
        ("$ceil", 1.2, 2.0),
        ("$ceil", -0.3, -0.0),
        ("$ceil", -INFINITY, -INFINITY),
        ("$ceil", D("1.2"), D("2")),
        ("$ceil", D("-1.2"), D("-1")),
    ],
)
def test_floor_ceil_and_abs_keep_the_type(name: str, value: Any, expected: Any) -> None:
    """Except for the least int."""
    expect(name, [value], expected)


def test_the_least_long_has_no_absolute_value() -> None:
    """There is no such long."""
    with pytest.raises(MqlError, match="long"):
        evaluated({"$abs": "$a"}, {"a": Int64(-(2**63))})


@pytest.mark.parametrize(
    ("value", "place", "rounded", "cut"),
    [
        (2.5, 0, 2.0, 2.0),
        (3.5, 0, 4.0, 3.0),
        (-2.5, 0, -2.0, -2.0),
        (-0.4, 0, -0.0, -0.0),
        (1.298, 1, 1.3, 1.2),
        (1.298, 100, 1.298, 1.298),
        (23.298, -1, 20.0, 20.0),
        (2.675, 2, 2.67, 2.67),
        (1e40, 2, 1e40, 1e40),
        (INFINITY, 0, INFINITY, INFINITY),
        (NAN, 2, NAN, NAN),
        (7, 3, 7, 7),
        (25, -1, 20, 20),
        (-25, -1, -20, -20),
        (35, -1, 40, 30),
        (5, -20, 0, 0),
        (INT, -1, Int64(2147483650), 2147483640),
        (Int64(19), -1, Int64(20), Int64(10)),
        (D("-1.6"), 0, D("-2"), D("-1")),
        (D("1.298"), D("1"), D("1.3"), D("1.2")),
        (D("23.298"), -1.0, D("2E+1"), D("2E+1")),
        (D("1.298912343250054252245154325"), Int64(20), D("1.29891234325005425225"), D("1.29891234325005425224")),
        (D("1.298"), 100, D("1.298000000000000000000000000000000"), D("1.298000000000000000000000000000000")),
        (D("-Infinity"), 0, D("-Infinity"), D("-Infinity")),
        (D("NaN"), 0, D("NaN"), D("NaN")),
    ],
)
def test_halves_are_rounded_to_even(value: Any, place: Any, rounded: Any, cut: Any) -> None:
    """As they are stored. The type is kept (jstests/aggregation/expressions/round_trunc.js)."""
    expect("$round", [value, place], rounded)
    expect("$trunc", [value, place], cut)


def test_the_place_of_rounding_is_0_by_default() -> None:
    """It is 0."""
    expect("$round", [1.7], 2.0)
    expect("$trunc", [-1.7], -1.0)


@pytest.mark.parametrize("name", ["$round", "$trunc"])
@pytest.mark.parametrize("place", [101, -21, 1.5, D("0.1"), "1", True, 2**40, NAN])
def test_a_place_is_a_whole_number_from_minus_20_to_100(name: str, place: Any) -> None:
    """A constant place is checked when the mapping is compiled."""
    with pytest.raises(MqlError, match="place"):
        evaluated({name: ["$a", "$place"]}, {"a": 1, "place": place})
    with pytest.raises(MqlError, match="place"):
        compiled({name: ["$a", place]})
    assert evaluated({name: ["$a", "$place"]}, {"a": 1}) is None


def test_a_long_that_is_rounded_beyond_the_longs_is_an_error() -> None:
    """Rounding never gives another type."""
    with pytest.raises(MqlError, match="long"):
        evaluated({"$round": ["$a", -1]}, {"a": Int64(2**63 - 2)})


@pytest.mark.parametrize("name", OF_ONE)
def test_operators_of_one_number_refuse_texts_and_dates(name: str) -> None:
    """Null gives null."""
    assert evaluated({name: "$a"}) is None
    assert evaluated({name: ["$a"]}, {"a": None}) is None
    for value in ("x", False, DatetimeMS(0)):
        with pytest.raises(MqlError, match=type_name(value)):
            evaluated({name: "$a"}, {"a": value})


@pytest.mark.parametrize("name", [*ARITHMETIC, *OF_ONE])
def test_the_number_of_arguments_is_checked(name: str) -> None:
    """$add and $multiply take any number, the others a fixed one."""
    if name in ("$add", "$multiply"):
        compiled({name: ["$a"] * 9})
    else:
        with pytest.raises(MqlError, match="arguments"):
            compiled({name: ["$a", "$b", "$c"]})


numbers = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**20), max_value=10**20).map(
        lambda value: Decimal128(str(value))
    ),
    st.sampled_from([D("1E+6144"), D("-1E-6176"), D("NaN"), D("sNaN"), D("-Infinity"), D("0E+6111")]),
)


@given(numbers, numbers)
def test_any_two_numbers_have_a_result_or_an_error(left: Any, right: Any) -> None:
    """The result has the widest type, or the next one for integers; the error is one of the mapping."""
    order = ["int", "long", "double", "decimal"]
    widest = max(order.index(type_name(left)), order.index(type_name(right)))
    for name in ARITHMETIC:
        try:
            result = evaluated({name: ["$a", "$b"]}, {"a": left, "b": right})
        except MqlError:
            assert name in ("$divide", "$mod")
            assert not is_truthy(right)
            continue
        width = order.index(type_name(result))
        assert width in ((widest,) if widest > 1 else (2,) if name == "$divide" else (widest, widest + 1))


@given(numbers, st.integers(-20, 100))
def test_any_number_can_be_rounded(value: Any, place: int) -> None:
    """Except for longs at the ends of their range."""
    for name in ("$round", "$trunc"):
        try:
            assert type_name(evaluated({name: ["$a", place]}, {"a": value})) in NUMBERS
        except MqlError:
            assert abs(value) > 2**62


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_arithmetic_of_ints_is_exact(left: int, right: int) -> None:
    """The result is an int if it fits."""
    document = {"a": left, "b": right}
    for name, exact in (("$add", left + right), ("$subtract", left - right), ("$multiply", left * right)):
        result = evaluated({name: ["$a", "$b"]}, document)
        assert int(result) == exact
        assert type(result) is (int if -(2**31) <= exact < 2**31 else Int64)
    if right:
        assert evaluated({"$mod": ["$a", "$b"]}, document) == left - right * int(Decimal(left) / Decimal(right))
