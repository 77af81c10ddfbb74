"""Whatever breaks, every table of the replica is what MongoDB is."""

import logging
import os
from pathlib import Path

import pytest

from tests.faults.faults import FAULTS
from tests.faults.oracle import run

logger = logging.getLogger(__name__)

SECONDS = float(os.environ.get("ORACLE_SECONDS", "60"))
FAULT_SECONDS = 3.5
"""From one fault to the next: half of the faults take place in about the time of a run."""
LEAST_MUTATIONS = 2_500
"""Of each run, which goes on until there were so many."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_doubled_whatever_breaks(run_dir: Path, seed: int) -> None:
    """Random writes with a fault every few seconds: at every barrier the replica is what MongoDB is, without another
    snapshot. Each seed has its half of the faults, and the run goes on until all of them have taken place."""
    faults = list(FAULTS.values())[seed - 1 :: 2]
    counts = run(
        run_dir / f"oracle-{seed}",
        seconds=SECONDS,
        seed=seed,
        faults=faults,
        least_mutations=LEAST_MUTATIONS,
        with_each_fault=True,
        fault_seconds=FAULT_SECONDS,
    )
    logger.info("%s\n%s", counts, counts.table())
    assert counts.mismatches == 0
    assert {*counts.faults, *counts.missed} == {fault.name for fault in faults}
