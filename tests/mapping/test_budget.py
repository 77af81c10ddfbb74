"""One document takes a bounded amount of work, and beyond it has no rows and one row error."""

import json
import time
from typing import Any

import pytest

from changesource.mapping.budget import Budget, BudgetExceeded
from changesource.mapping.definition import Column, Table
from changesource.mapping.row_errors import RowError
from changesource.mapping.tables import CompiledTable

UNWINDS = [{"$unwind": "$a"}, {"$unwind": "$b"}, {"$project": {"_id": 0, "p": "$_id", "x": "$a", "y": "$b"}}]
COLUMNS = (Column("p", "string"), Column("x", "number"), Column("y", "number"))


def table(
    stages: list[Any], columns: tuple[Column, ...] = COLUMNS, key: tuple[str, ...] = ("p", "x", "y")
) -> CompiledTable:
    return CompiledTable(Table("t", columns, key, collection="c", mapping=json.dumps({"pipeline": stages})))


def test_a_product_of_two_arrays_is_one_row_error_and_no_rows() -> None:
    """5,000 × 5,000 rows are refused before they are made."""
    errors: list[RowError] = []
    start = time.thread_time()
    assert table(UNWINDS).rows({"_id": "d", "a": list(range(5_000)), "b": list(range(5_000))}, errors) == []
    assert time.thread_time() - start < 5
    [error] = errors
    assert (error.table, error.document_id, error.column) == ("t", "d", "")
    assert "more rows" in error.reason


def test_a_budget_of_the_caller_is_exceeded_without_a_row_error() -> None:
    """The caller tries with little on the event loop, and repeats elsewhere with all."""
    errors: list[RowError] = []
    document = {"_id": "d", "a": list(range(100)), "b": list(range(100))}
    with pytest.raises(BudgetExceeded):
        table(UNWINDS).rows(document, errors, Budget.quick())
    assert errors == []
    assert len(table(UNWINDS).rows(document, errors)) == 10_000
    assert errors == []
