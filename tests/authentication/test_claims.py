"""changesource/authentication/claims.py"""

import math
from typing import Any

import pytest

from changesource.authentication.claims import attribute_claims, attributes_of
from changesource.errors import InvalidJwtSettings


def test_attribute_claims() -> None:
    """A claim's name may be a URL, with whatever stands in it."""
    pairs = ["tenant=org_id", " region = https://example.com/region?a=b "]
    assert attribute_claims(pairs) == {"tenant": "org_id", "region": "https://example.com/region?a=b"}


@pytest.mark.parametrize("pairs", [["tenant"], ["=org"], ["tenant="], ["a.b=c"], ["a b=c"], ["a=b", "a=c"], [""]])
def test_wrong_pairs(pairs: list[str]) -> None:
    """What is not <attribute>=<claim>, once each, is refused."""
    with pytest.raises(InvalidJwtSettings, match="JWT_ATTRIBUTES"):
        attribute_claims(pairs)


@pytest.mark.parametrize("value", ["acme", "", 7, -(2**63), 1.5, True, False, [], ["a", 1, True]])
def test_what_is_taken(value: Any) -> None:
    """Scalars and lists of them, as they are."""
    assert attributes_of({"org": value}, {"tenant": "org"}) == (("tenant", value),)


@pytest.mark.parametrize(
    "value",
    [None, {}, {"$ne": 1}, [[1]], [{"$ne": 1}], [None], math.nan, math.inf, 2**63, "\ud800", ["\ud800"]],
)
def test_what_is_not(value: Any) -> None:
    """An object, null and what MongoDB or UTF-8 could not hold are no attribute: no row matches."""
    assert attributes_of({"org": value, "other": 1}, {"tenant": "org", "other": "other"}) == (("other", 1),)


def test_missing_claim() -> None:
    """A claim that is missing is an attribute that is missing; others are not taken."""
    assert attributes_of({"else": 1}, {"tenant": "org"}) == ()
