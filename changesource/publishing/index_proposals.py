"""Indexes that the queries of an app can use, judging by its definition: for the columns that
relationships connect, and for those that permissions compare. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from changesource.mql import And, Compare, Filter, In, Or, Related
from changesource.rules.syntax import parse_permissions
from changesource.tables.definition import MAX_INDEX_COLUMNS, AppDefinition, Table
from changesource.tables.relationships import Relationship, read_relationships


@dataclass(frozen=True, slots=True)
class IndexProposal:
    """`columns` are column names of one table; `reasons` say in words what looks them up."""

    columns: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Use:
    table: str
    columns: tuple[str, ...]
    reason: str


def propose_indexes(app: AppDefinition) -> Mapping[str, tuple[IndexProposal, ...]]:
    """Name of a table → indexes that it lacks. Problems of the definition are reported by
    `find_problems`.

    An index, or the primary key, serves every look-up by the columns that it begins with, in any
    order. Several relationships and rules with the same columns lead to one proposal.
    """
    tables = {table.name: table for table in app.tables}
    uses: dict[str, dict[frozenset[str], list[_Use]]] = {name: {} for name in tables}
    for use in _uses(app, tables):
        table = tables[use.table]
        if _can_have(table, use.columns) and not _is_served(table, use.columns):
            uses[use.table].setdefault(frozenset(use.columns), []).append(use)
    return {name: tuple(map(_proposal, of_columns.values())) for name, of_columns in uses.items()}


def _proposal(uses: Sequence[_Use]) -> IndexProposal:
    return IndexProposal(uses[0].columns, tuple(dict.fromkeys(use.reason for use in uses)))


def _can_have(table: Table, columns: tuple[str, ...]) -> bool:
    kinds = {column.name: column.type for column in table.columns}
    is_short = 0 < len(columns) <= MAX_INDEX_COLUMNS and len(set(columns)) == len(columns)
    return is_short and all(kinds.get(name, "json") != "json" for name in columns)


def _is_served(table: Table, columns: tuple[str, ...]) -> bool:
    return any(set(index[: len(columns)]) == set(columns) for index in (table.primary_key, *table.indexes))


def _uses(app: AppDefinition, tables: Mapping[str, Table]) -> Iterator[_Use]:
    by_table = read_relationships(app).by_table
    for named in by_table.values():
        for relationship in named.values():
            yield from _of_relationship(relationship)
    for table in app.tables:
        for rule in parse_permissions(table.permissions).rules["select"]:  # zero-cache turns no others into queries
            yield from _of_rule(tables, by_table, table, rule.filter, f"permissions of {table.name}, {rule.place}")


def _of_relationship(relationship: Relationship) -> Iterator[_Use]:
    """From a row to the related ones, and back: zero-cache looks back when a related row changes,
    and when a query begins with the related rows."""
    reason = f"relationship {relationship.source}.{relationship.name}"
    source = relationship.source
    for connection in relationship.connections:
        yield _Use(connection.destination, connection.destination_columns, reason)
        yield _Use(source, connection.source_columns, reason)
        source = connection.destination


def _of_rule(
    tables: Mapping[str, Table],
    by_table: Mapping[str, Mapping[str, Relationship]],
    table: Table,
    filter: Filter,
    reason: str,
) -> Iterator[_Use]:
    """Each column that is compared for equality, by itself: the definition does not tell which is
    the most selective. Booleans are left out: reading half of the rows is no gain."""
    match filter:
        case And(members) | Or(members):
            for member in members:
                yield from _of_rule(tables, by_table, table, member, reason)
        case Related(name, condition):
            relationship = by_table.get(table.name, {}).get(name)
            if relationship is not None:
                yield from _of_rule(tables, by_table, tables[relationship.destination], condition, reason)
        case Compare((name,), "$eq", value) if value is not None:
            yield from _of_column(table, name, reason)
        case In((name,), _, ()):
            yield from _of_column(table, name, reason)
        case _:
            return  # also for negations, which usually keep most of the rows


def _of_column(table: Table, name: str, reason: str) -> Iterator[_Use]:
    if any(column.name == name and column.type in ("string", "number") for column in table.columns):
        yield _Use(table.name, (name,), reason)
