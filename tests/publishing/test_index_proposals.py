"""Indexes that are proposed for what the queries of an app ask for."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import given

from changesource.publishing.definition_problems import find_problems
from changesource.publishing.index_proposals import propose_indexes
from changesource.tables.definition import AppDefinition, Column, Table
from tests.tables.definitions import definitions

ID = Column("_id", "string")
LAND = Table("land", (ID, Column("name", "string")), ("_id",))
CITY = Table(
    "city",
    (
        ID,
        Column("land", "string"),
        Column("owner", "string"),
        Column("size", "number"),
        Column("isOpen", "boolean"),
        Column("tags", "json"),
    ),
    ("_id",),
)
LINE = Table(
    "line", (Column("order", "string"), Column("place", "number"), Column("sku", "string")), ("order", "place")
)


def connection(source: str | list[str], destination: str, columns: str | list[str]) -> dict[str, Any]:
    fields = [[names] if isinstance(names, str) else names for names in (source, columns)]
    return {"sourceField": fields[0], "destSchema": destination, "destField": fields[1], "cardinality": "many"}


def proposed(*tables: Table, **relationships: Any) -> dict[str, list[tuple[str, ...]]]:
    app = AppDefinition("shop", "default", tables, relationships)
    assert find_problems(app) == []
    by_table = propose_indexes(app)
    return {name: [each.columns for each in proposals] for name, proposals in by_table.items() if proposals}


def ruled(table: Table, *rules: Any) -> Table:
    return replace(table, permissions=json.dumps({"select": rules}))


def test_a_column_to_which_a_relationship_leads_is_proposed() -> None:
    """Or from which it comes, to a primary key."""
    assert proposed(CITY, LAND, land={"cities": [connection("_id", "city", "land")]}) == {"city": [("land",)]}
    assert proposed(CITY, LAND, city={"of": [connection("land", "land", "_id")]}) == {"city": [("land",)]}


def test_both_columns_of_a_junction_are_proposed() -> None:
    junction = Table("visit", (ID, Column("by", "string"), Column("at", "string")), ("_id",))
    relationships = {"cities": [connection("_id", "visit", "by"), connection("at", "city", "_id")]}
    assert proposed(LAND, junction, CITY, land=relationships) == {"visit": [("by",), ("at",)]}


def test_columns_with_which_a_key_begins_need_no_other_index() -> None:
    """In any order. The same holds for any other index."""
    order = Table("order", (ID, Column("at", "number")), ("_id",))
    lines = {"lines": [connection("_id", "line", "order")]}
    assert proposed(order, LINE, order=lines) == {}
    both = {"same": [connection(["at", "_id"], "line", ["place", "order"])]}
    assert proposed(order, LINE, order=both) == {"order": [("at", "_id")]}
    indexed = replace(order, indexes=(("_id", "at"),))
    assert proposed(indexed, LINE, order=both) == {}


def test_columns_that_rules_compare_for_equality_are_proposed() -> None:
    """Also in related rows, but neither booleans nor what a rule excludes or compares with null."""
    rules = (
        {"owner": "$auth.sub", "isOpen": True},
        {"$or": [{"size": {"$in": [1, 2]}}, {"$nor": [{"land": "CH"}]}]},
        {"land": None},
    )
    assert proposed(ruled(CITY, *rules)) == {"city": [("owner",), ("size",)]}
    related = {"$exists": {"relationship": "cities", "where": {"owner": "$auth.sub"}}}
    found = proposed(CITY, ruled(LAND, related), land={"cities": [connection("_id", "city", "land")]})
    assert found == {"city": [("land",), ("owner",)]}


def test_rules_of_writers_propose_nothing() -> None:
    """zero-cache reads rows by the rules for reading only."""
    table = replace(CITY, permissions='{"insert": [{"owner": "$auth.sub"}]}')
    assert proposed(table) == {}


def test_each_reason_for_an_index_is_named_once() -> None:
    app = AppDefinition(
        "shop",
        "default",
        (ruled(CITY, {"land": "$auth.land"}, {"$or": [{"land": "CH"}, {"land": "FR"}]}), LAND),
        {"land": {"cities": [connection("_id", "city", "land")]}},
    )
    [proposal] = propose_indexes(app)["city"]
    assert proposal.reasons == (
        "relationship land.cities",
        "permissions of city, select[0]",
        "permissions of city, select[1]",
    )


@given(definitions)
def test_what_is_proposed_can_be_published(app: AppDefinition) -> None:
    """Whatever a draft holds, what is proposed adds no problem to it, and is not proposed again."""
    proposals = propose_indexes(app)
    tables = [
        replace(table, indexes=(*table.indexes, *(each.columns for each in proposals[table.name])))
        for table in app.tables
    ]
    if find_problems(app) == []:
        indexed = replace(app, tables=tuple(tables))
        assert find_problems(indexed) == []
        assert not any(propose_indexes(indexed).values())
