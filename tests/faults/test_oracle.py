"""Whatever breaks, every table of the replica is what MongoDB is."""

from pathlib import Path

import pytest

from tests.faults.faults import FAULTS
from tests.faults.oracle import run

SECONDS = 60
LEAST_MUTATIONS = 2_500
"""Of each run. Slower machines make more than twice as many."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_doubled_whatever_breaks(run_dir: Path, seed: int) -> None:
    """A minute of random writes with a fault every five seconds: at every barrier the replica is what MongoDB is, without
    another snapshot. Each seed has its half of the faults."""
    faults = list(FAULTS.values())[seed - 1 :: 2]
    counts = run(run_dir / f"oracle-{seed}", seconds=SECONDS, seed=seed, faults=faults)
    assert counts.mutations > LEAST_MUTATIONS
    assert counts.faults.total() >= 8
    assert counts.barriers >= 5
