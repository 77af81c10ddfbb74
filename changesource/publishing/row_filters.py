"""What is wrong with the row filters of a client."""

from __future__ import annotations

from collections.abc import Iterator

from changesource.mapping.definition import AppDefinition, Table
from changesource.mapping.filters.tree import fields
from changesource.mapping.mapping_error import MappingError
from changesource.mapping.mapping_text import read_mapping_text
from changesource.mapping.rules.syntax import PermissionProblem, parse_rule

WHAT_THEY_ARE = "Row filters are a JSON object: the name of a table → a filter."


def find_row_filter_problems(definition: AppDefinition, row_filters: str) -> list[PermissionProblem]:
    """Why `row_filters` cannot be evaluated for the tables of `definition`, each reason with its place."""
    try:
        filters = read_mapping_text(row_filters, what_it_is=WHAT_THEY_ARE)
    except MappingError as error:
        return [PermissionProblem(error.place, error.message)]
    tables = {table.name: table for table in definition.tables}
    return [problem for name, source in filters.items() for problem in _problems(tables, name, source)]


def _problems(tables: dict[str, Table], name: str, source: object) -> Iterator[PermissionProblem]:
    table = tables.get(name)
    if table is None:
        yield PermissionProblem((name,), f"There is no such table. There are: {', '.join(tables)}.")
        return
    try:
        rule = parse_rule(source, namespace="client")
    except MappingError as error:
        yield PermissionProblem((name, *error.place), error.message)
        return
    for column in sorted(fields(rule.filter) - set(table.filter_columns)):
        known = ", ".join(table.filter_columns) or "none"
        yield PermissionProblem((name, column), f"This is no filter column of the table. Those are: {known}.")
