"""A table of a draft while it is being edited, before it is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from changesource.models import Column, Table
from changesource.models.draft import table_definition
from changesource.publishing.definition_problems import Problem, find_problems, find_table_problems
from changesource.tables.definition import AppDefinition


def find_problems_of_edit(table: Table, columns: Iterable[Column]) -> list[Problem]:
    """What `table` with `columns` adds to the reasons why its app must not be published. Neither
    has to be stored."""
    edited = table_definition(table, columns)
    if table.app_id is None:
        return list(find_table_problems(edited))
    others = tuple(
        table_definition(other, other.columns.all())
        for other in table.app.tables.exclude(pk=table.pk).prefetch_related("columns")
    )
    # The edited table comes first: where two tables clash, the problem then names this one.
    app = AppDefinition(table.app.app_id, table.app.source, (edited, *others), table.app.relationships)
    with_edited = find_problems(app)
    without = find_problems(replace(app, tables=others))
    return [problem for problem in with_edited if problem not in without]
