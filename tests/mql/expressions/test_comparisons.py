"""$eq $ne $gt $gte $lt $lte $cmp."""

from typing import Any

import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId
from hypothesis import given

from changesource.mql.errors import MqlError
from changesource.mql.expressions.comparisons import compare
from tests.mql import bson_values
from tests.mql.expressions.evaluation import compiled, evaluated

OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [
        (1, 2, -1),
        (2, Int64(2), 0),
        (2.5, 2, 1),
        (Decimal128("2.0"), 2, 0),
        (float("nan"), -1, -1),
        (None, 0, -1),
        (True, 1, 1),
        ("a", 99, 1),
        ("a", "B", 1),
        ([1, 2], [1, 3], -1),
        ({"a": 1}, {"a": 1, "b": 0}, -1),
        (DatetimeMS(5), DatetimeMS(4), 1),
        (ObjectId("507f1f77bcf86cd799439011"), "507f1f77bcf86cd799439011", 1),
    ],
)
def test_values_compare_in_the_order_of_bson(left: Any, right: Any, order: int) -> None:
    """By type; numbers of all types compare as numbers."""
    document = {"left": left, "right": right}
    assert evaluated({"$cmp": ["$left", "$right"]}, document) == order
    assert evaluated({"$cmp": ["$right", "$left"]}, document) == -order


def test_missing_is_less_than_null() -> None:
    """A missing field is not null."""
    assert evaluated({"$eq": ["$a", None]}) is False
    assert evaluated({"$lt": ["$a", None]}) is True
    assert evaluated({"$gt": [1, "$a"]}) is True
    assert evaluated({"$eq": ["$a", "$b"]}) is True


@given(bson_values.values, bson_values.values)
def test_every_comparison_agrees_with_cmp(left: Any, right: Any) -> None:
    """Each operator says what $cmp says."""
    order = compare(left, right)
    expected = [order == 0, order != 0, order > 0, order >= 0, order < 0, order <= 0]
    document = {"left": left, "right": right}
    assert [evaluated({name: ["$left", "$right"]}, document) for name in OPERATORS] == expected
    assert evaluated({"$cmp": ["$left", "$right"]}, document) == order


@pytest.mark.parametrize("name", [*OPERATORS, "$cmp"])
def test_a_comparison_takes_two_arguments(name: str) -> None:
    """Any other number of arguments is refused."""
    for arguments in ("$a", ["$a"], ["$a", 1, 2]):
        with pytest.raises(MqlError, match="takes 2 arguments"):
            compiled({name: arguments})


def test_the_types_of_comparisons_are_known() -> None:
    """A column is checked against them."""
    assert compiled({"$gt": ["$a", 1]}).gives == {"bool"}
    assert compiled({"$cmp": ["$a", 1]}).gives == {"int"}
