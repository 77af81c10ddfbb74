"""Drafts as definitions."""

import pytest

from changesource.models import App
from changesource.models.draft import draft_definition
from changesource.tables.definition import AppDefinition, Column, Table
from tests.models.builders import build_app, build_table

pytestmark = pytest.mark.django_db


def test_a_definition_has_everything_of_the_draft() -> None:
    """Each attribute of a draft arrives in its definition; empty names get their defaults."""
    app = App.objects.create(app_id="shop", source="other", relationships={"city": {}})
    build_table(
        app,
        "city",
        {"id": {"server_name": "_id"}, "size": {"type": "number", "field": "population", "optional": True}},
        server_name="cities",
        collection="towns",
        mapping='{"filter": {"size": {"$gt": 0}}}',
        primary_key=["id"],
    )
    assert draft_definition(app) == AppDefinition(
        app_id="shop",
        source="other",
        tables=(
            Table(
                name="city",
                columns=(
                    Column("id", "string", server_name="_id", field="_id"),
                    Column("size", "number", optional=True, server_name="size", field="population"),
                ),
                primary_key=("id",),
                server_name="cities",
                collection="towns",
                mapping='{"filter":{"size":{"$gt":0}}}',
            ),
        ),
        relationships={"city": {}},
    )


def test_tables_and_columns_are_ordered_by_position() -> None:
    """Tables and columns come in the order of their positions."""
    app = build_app()
    build_table(app, "country", {"b": {}, "a": {}})
    app.tables.filter(name="country").update(position=0)
    app.tables.filter(name="city").update(position=1)
    app.tables.get(name="country").columns.filter(name="b").update(position=2)
    tables = draft_definition(app).tables
    assert [(table.name, [column.name for column in table.columns]) for table in tables] == [
        ("country", ["a", "b"]),
        ("city", ["_id", "name"]),
    ]
