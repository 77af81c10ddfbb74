"""The slow documents of the oracle are as slow as they have to be."""

from typing import Any

import pytest

from changesource.tables.compiled_table import CompiledTable
from changesource.tables.row_errors import RowError
from tests.e2e.deployment import published_definition
from tests.faults.tables import GRID_SIDES, HEAP_ITEMS, HEAP_TABLES, MAPPINGS, SCHEMA, heap_table

pytestmark = pytest.mark.not_fast

TABLES = {table.name: CompiledTable(table) for table in published_definition(SCHEMA, MAPPINGS, "oracle").tables}


def rows_and_reasons(table: str, document: dict[str, Any]) -> tuple[int, list[str]]:
    errors: list[RowError] = []
    rows = TABLES[table].rows(document, errors)
    return len(rows), [error.reason for error in errors]


@pytest.mark.parametrize("number", range(HEAP_TABLES))
def test_a_heap_has_rows_in_each_of_its_tables(number: int) -> None:
    """Its array is within what one document may take."""
    rows, reasons = rows_and_reasons(heap_table(number), {"_id": "heap", "items": list(range(HEAP_ITEMS))})
    assert rows > 10
    assert reasons == []


@pytest.mark.parametrize("table", ["grid_pairs", "grid_ranks"])
def test_the_largest_grid_is_beyond_what_a_document_may_take(table: str) -> None:
    """It has no rows and one error; a smaller one has rows."""
    grids = [{"_id": "grid", "a": list(range(side)), "b": list(range(side))} for side in GRID_SIDES[-2:]]
    (rows, no_reasons), (no_rows, reasons) = [rows_and_reasons(table, grid) for grid in grids]
    assert rows > 0
    assert no_reasons == []
    assert no_rows == 0
    assert len(reasons) == 1
