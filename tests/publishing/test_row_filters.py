"""Row filters are looked at with the tables that they are about."""

import json
from typing import Any

import pytest

from changesource.publishing.row_filters import find_row_filter_problems
from changesource.tables.definition import AppDefinition, Column
from tests.tables.definitions import table

APP = AppDefinition(
    "shop",
    "default",
    (table(columns=(Column("_id", "string"), Column("tenant", "string")), filter_columns=("tenant",)),),
)


@pytest.mark.parametrize("row_filters", ["", "{}", '{"city": {"tenant": "$client.tenant"}}', '{"city": {}}'])
def test_a_filter_may_ask_for_filter_columns_and_attributes(row_filters: str) -> None:
    assert find_row_filter_problems(APP, row_filters) == []


@pytest.mark.parametrize(
    ("row_filters", "place"),
    [
        ({"town": {}}, "town: "),
        ({"city": {"_id": "a"}}, "city._id: "),
        ({"city": {"$or": [{"tenant": "a"}, {"nope": 1}]}}, "city.nope: "),
        ({"city": {"tenant": "$auth.sub"}}, "city.tenant: "),
        ({"city": {"tenant": {"$where": "1"}}}, "city.tenant.$where: "),
        ([], "Row filters are a JSON object"),
    ],
)
def test_what_cannot_be_evaluated_is_named_with_its_place(row_filters: Any, place: str) -> None:
    [problem] = find_row_filter_problems(APP, json.dumps(row_filters))
    assert str(problem).startswith(place)
