"""changesource/authentication/claims.py"""

import math
from typing import Any

import pytest

from changesource.authentication.claims import attribute_claims, attributes_of
from changesource.errors import InvalidJwtSettings


def test_the_name_of_a_claim_may_be_any_text() -> None:
    """A URL, for instance."""
    pairs = ["tenant=org_id", " region = https://example.com/region?a=b "]
    assert attribute_claims(pairs) == {"tenant": "org_id", "region": "https://example.com/region?a=b"}


@pytest.mark.parametrize("pairs", [["tenant"], ["=org"], ["tenant="], ["a.b=c"], ["a b=c"], ["a=b", "a=c"], [""]])
def test_a_malformed_or_repeated_pair_is_refused(pairs: list[str]) -> None:
    """Each has to be <attribute>=<claim>, and each attribute comes once."""
    with pytest.raises(InvalidJwtSettings, match="JWT_ATTRIBUTES"):
        attribute_claims(pairs)


@pytest.mark.parametrize("value", ["acme", "", 7, -(2**63), 1.5, True, False, [], ["a", 1, True]])
def test_scalars_and_lists_of_them_are_attributes(value: Any) -> None:
    """With their values unchanged."""
    assert attributes_of({"org": value}, {"tenant": "org"}) == (("tenant", value),)


@pytest.mark.parametrize(
    "value",
    [None, {}, {"$ne": 1}, [[1]], [{"$ne": 1}], [None], math.nan, math.inf, 2**63, "\ud800", ["\ud800"]],
)
def test_a_value_that_rows_cannot_be_compared_with_is_no_attribute(value: Any) -> None:
    """An object, null, or what MongoDB or UTF-8 cannot hold."""
    assert attributes_of({"org": value, "other": 1}, {"tenant": "org", "other": "other"}) == (("other", 1),)


def test_a_missing_claim_gives_no_attribute() -> None:
    """Claims that no pair names are ignored."""
    assert attributes_of({"else": 1}, {"tenant": "org"}) == ()
