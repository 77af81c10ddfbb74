"""Where the embedded server departs from MongoDB, we do not."""

from typing import Any

import pytest
from pymongo.collection import Collection

from changesource.mql import MqlError, compile_pipeline
from tests.mql.agreement.departures import DEPARTURES, ERROR, Departure
from tests.mql.agreement.outcomes import FAILED, Outcome, in_bson, store, their_outcome
from tests.mql.agreement.spelled_out import pipeline_for_server

each_departure = pytest.mark.parametrize("departure", DEPARTURES, ids=lambda departure: departure.name)


def documented(departure: Departure) -> Outcome:
    return FAILED if departure.rows == ERROR else in_bson(list(departure.rows))


@each_departure
def test_a_mapping_gives_the_documented_rows(departure: Departure) -> None:
    """It gives MongoDB's rows, or fails where MongoDB does."""
    try:
        rows: Outcome = in_bson(compile_pipeline({"pipeline": departure.pipeline})({"_id": 1, **departure.document}))
    except MqlError:
        rows = FAILED
    assert rows == documented(departure)


@pytest.mark.embedded_mongodb
@each_departure
def test_the_server_still_departs(collection: Collection[dict[str, Any]], departure: Departure) -> None:
    """A departure that a later version of the server has lost must be removed from the table."""
    store(collection, [{"_id": 1, **departure.document}])
    assert their_outcome(collection, departure.pipeline) != documented(departure)


@pytest.mark.parametrize(
    "departure",
    [found for found in DEPARTURES if found.way_around == "spelled out"],
    ids=lambda departure: departure.name,
)
def test_the_spelled_out_pipeline_gives_the_documented_rows(
    collection: Collection[dict[str, Any]], departure: Departure
) -> None:
    """So generated pipelines can be compared with the server."""
    store(collection, [{"_id": 1, **departure.document}])
    assert their_outcome(collection, pipeline_for_server(list(departure.pipeline))) == documented(departure)
