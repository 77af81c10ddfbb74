"""Removals of the handling of faults fit the source as it is; `make removals` tries them."""

import pytest

from tests.faults.removals import REMOVALS, Removal, problems_of


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: f"{removal.fault}: {removal.handling}")
def test_fits_the_source(removal: Removal) -> None:
    """What it takes out is there once, and so are its tests."""
    assert problems_of(removal) == []
