"""What is wrong with one table of a draft, for those who edit it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from changesource.models import Column, Table
from changesource.models.draft import table_definition
from changesource.publishing.definition_problems import Problem, find_problems, find_table_problems
from changesource.tables.definition import AppDefinition


def problems_of_table(table: Table, columns: Iterable[Column]) -> list[Problem]:
    """What would keep its app from being published that is due to `table` with `columns`. Neither has to be stored."""
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
