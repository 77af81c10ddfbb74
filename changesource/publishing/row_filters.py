"""The row filters of a client: a JSON object, the name of a table → a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changesource.models.client import WHAT_ROW_FILTERS_ARE
from changesource.mql import MqlError, read_mapping_text
from changesource.rules.row_filter import row_filter_problems
from changesource.tables.definition import AppDefinition


def read_row_filters(text: str) -> Mapping[str, Any]:
    """Name of a table → its filter. Raises `MqlError`."""
    return read_mapping_text(text, what_it_is=WHAT_ROW_FILTERS_ARE)


def find_row_filter_problems(definition: AppDefinition, row_filters: str) -> list[str]:
    """Why `row_filters` cannot be used with a published version; each problem begins with its
    place. A table whose filter cannot be used is not shown to the client."""
    try:
        filters = read_row_filters(row_filters)
    except MqlError as error:
        return [error.reason]
    tables = {table.name: table for table in definition.tables}
    problems: list[str] = []
    for name, source in filters.items():
        if name in tables:
            problems += [error.within(name).reason for error in row_filter_problems(definition, tables[name], source)]
        else:
            existing = ", ".join(tables) or "none"
            problems.append(f"{name}: There is no table with this name. The tables are: {existing}.")
    return problems
