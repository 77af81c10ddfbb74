"""The row filters of a client: a JSON object, the name of a table → a filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changesource.mql import MqlError, read_mapping_text
from changesource.rules.row_filter import row_filter_problems
from changesource.tables.definition import AppDefinition

_WHAT_IT_IS = 'Row filters are a JSON object: {"order": {"tenantId": "$client.tenant"}}.'


def read_row_filters(text: str) -> Mapping[str, Any]:
    """The filter of each table that has one. Raises `MqlError`."""
    return read_mapping_text(text, what_it_is=_WHAT_IT_IS)


def find_row_filter_problems(definition: AppDefinition, row_filters: str) -> list[str]:
    """What keeps `row_filters` from being used with a published version, each with its place in front. A table of which the
    filter cannot be used is not shown to the client."""
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
            there_are = ", ".join(tables) or "none"
            problems.append(f"{name}: There is no table of this name. There are: {there_are}.")
    return problems
