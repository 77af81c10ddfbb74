"""renderer.py, document_changes.py: whatever happens to documents, and however it is read, rows end as a snapshot's."""

import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.simulation.histories import History, Reading, histories
from tests.simulation.mapped_tables import BY_ID, BY_PRE_IMAGES, rows_of, version_of

VERSIONS = {"by_id": version_of(*BY_ID), "by_pre_images": version_of(*BY_PRE_IMAGES)}


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Any:
    """Missing pre-images are logged, thousands of times."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", VERSIONS)
@settings(deadline=None, max_examples=examples(250), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), history=histories())
def test_any_history_read_anyhow_ends_as_a_snapshot(kind: str, data: Any, history: History) -> None:
    """Parts cut anywhere, look-ups and scans that see later states, missing images, and a second reading from an earlier
    position over the same replica: the rows are in the end those of a fresh snapshot."""
    version = VERSIONS[kind]
    replica = Reading(data.draw, history, version).replica_after_all()
    assert replica.tables == rows_of(version, history.states[-1].values())
