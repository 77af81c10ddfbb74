"""What is wrong with the row filters of a client."""

from __future__ import annotations

from collections.abc import Iterator

from changesource.mapping.definition import AppDefinition, Table
from changesource.mapping.filters.tree import fields
from changesource.mapping.mapping_error import MappingError
from changesource.mapping.mapping_text import read_mapping_text
from changesource.mapping.rules.syntax import parse_rule

WHAT_THEY_ARE = "Row filters are a JSON object: the name of a table → a filter."


def find_row_filter_problems(definition: AppDefinition, row_filters: str) -> list[str]:
    """Why `row_filters` cannot be evaluated for the tables of `definition`, each reason with its place."""
    try:
        filters = read_mapping_text(row_filters, what_it_is=WHAT_THEY_ARE)
    except MappingError as error:
        return [error.reason]
    tables = {table.name: table for table in definition.tables}
    return [problem for name, source in filters.items() for problem in _problems(tables.get(name), name, source)]


def _problems(table: Table | None, name: str, source: object) -> Iterator[str]:
    if table is None:
        yield f"{name}: There is no table of this name."
        return
    try:
        rule = parse_rule(source, namespace="client")
    except MappingError as error:
        yield error.within(name).reason
        return
    columns = {column.name for column in table.columns}
    for column in sorted(fields(rule.filter) - set(table.filter_columns)):
        what = "filter column" if column in columns else "column"
        yield f"{name}.{column}: The table has no {what} of this name."
