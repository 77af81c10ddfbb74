"""The relationships of an app, as Zero's `createSchema` accepts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from changesource.errors import InvalidDefinition
from changesource.tables.definition import AppDefinition
from changesource.tables.relationships import Relationship, read_relationships


def relationships_by_table(definition: AppDefinition) -> Mapping[str, Sequence[Relationship]]:
    """Name of a table → its relationships, in the order in which they are written.

    Raises `InvalidDefinition` with the place of the first one that `createSchema` would refuse.
    """
    read = read_relationships(definition)
    for problem in read.problems:
        raise InvalidDefinition(f"relationships.{'.'.join(problem.place)}: {problem.message}")
    return {
        table: [_with_one_cardinality(relationship) for relationship in read.by_table.get(table, {}).values()]
        for table in definition.relationships
    }


def _with_one_cardinality(relationship: Relationship) -> Relationship:
    if len({connection.cardinality for connection in relationship.connections}) > 1:
        raise InvalidDefinition(
            f"relationships.{relationship.source}.{relationship.name}: Write the same cardinality for both connections."
        )
    return relationship


def cardinality_of(relationship: Relationship) -> str:
    """The cardinality of all connections of a relationship that `relationships_by_table` gave."""
    return relationship.connections[0].cardinality
