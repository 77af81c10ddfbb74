"""Definitions: defaults, the stored form, and what may not be published."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.mapping.definition import COLUMN_TYPES, AppDefinition, Column, Problem, Table, find_problems

names = st.one_of(
    st.text(max_size=70),
    st.sampled_from(["_id", "city", "City", "_zero.x", "sqlite_x", "_0_version", "system.views", "$x", "a.b", ""]),
)
columns = st.builds(
    Column,
    name=names,
    type=st.one_of(st.sampled_from(COLUMN_TYPES), names),  # type: ignore[arg-type]
    optional=st.booleans(),
    server_name=names,
    field=names,
)
tables = st.builds(
    Table,
    name=names,
    columns=st.lists(columns, max_size=5).map(tuple),
    primary_key=st.lists(names, max_size=3).map(tuple),
    server_name=names,
    collection=names,
)
definitions = st.builds(
    AppDefinition,
    app_id=names,
    source=names,
    tables=st.lists(tables, max_size=4).map(tuple),
    relationships=st.dictionaries(names, st.recursive(names | st.integers() | st.none(), st.lists, max_leaves=5)),
)


def table(**changes: Any) -> Table:
    """A table that may be published, but for `changes`."""
    values: dict[str, Any] = {
        "name": "city",
        "columns": (Column("_id", "string"), Column("name", "string", optional=True)),
        "primary_key": ("_id",),
    }
    return Table(**{**values, **changes})


def places(*tables: Table, app_id: str = "shop") -> list[tuple[str, str, str]]:
    """Table, column and attribute of every problem."""
    problems = find_problems(AppDefinition(app_id, "default", tables))
    return [(problem.table, problem.column, problem.attribute) for problem in problems]


@given(definitions)
def test_json_round_trip(definition: AppDefinition) -> None:
    """What was stored as JSON text is read as an equal definition."""
    assert AppDefinition.from_json(json.loads(json.dumps(definition.to_json()))) == definition


@given(definitions)
def test_nonsense_is_described(definition: AppDefinition) -> None:
    """Whatever a definition holds, its problems are named, each with a remedy, and nothing is raised."""
    assert all(isinstance(problem, Problem) and problem.message for problem in find_problems(definition))


def test_sound_definition() -> None:
    """A definition that zero-cache accepts has no problems."""
    assert places(table()) == []


def test_names_default_downwards() -> None:
    """A field is the server name, which is the name, unless they are given."""
    column = Column("id", "string", server_name="_id")
    assert (Column("a", "string").field, column.field, column.server_name) == ("a", "_id", "_id")


def test_collection_defaults_to_server_name() -> None:
    """A table without a collection reads the one of its server name."""
    assert table(server_name="cities").collection == "cities"


def test_problem_names_its_place() -> None:
    """A problem's text begins with the table, the column and the attribute."""
    assert str(Problem("type", "Choose.", table="city", column="name")) == "city.name.type: Choose."


@pytest.mark.parametrize("app_id", ["", "Shop", "my-shop", "a b", "ä"])
def test_app_id(app_id: str) -> None:
    """An app id that Zero refuses is a problem of `app_id`."""
    assert places(table(), app_id=app_id) == [("", "", "app_id")]


def test_no_tables() -> None:
    """An app without tables has nothing to publish."""
    assert places() == [("", "", "tables")]


@pytest.mark.parametrize("name", ["", "1st", "my table", "städte", "x" * 64, "a.b"])
def test_table_name(name: str) -> None:
    """A table's name is an identifier of at most 63 characters."""
    assert places(table(name=name, server_name="city")) == [(name, "", "name")]


@pytest.mark.parametrize("name", ["_zero_x", "_ZERO.x", "sqlite_master"])
def test_reserved_table_name(name: str) -> None:
    """Names that zero-cache and SQLite keep for themselves are refused in any case."""
    assert ("city", "", "server_name") in places(table(server_name=name))


@pytest.mark.parametrize("collection", ["system.views", "a$b", "a\0b"])
def test_collection(collection: str) -> None:
    """A collection without a change stream, or that cannot exist, is refused."""
    assert places(table(collection=collection)) == [("city", "", "collection")]


def test_table_names_are_unique() -> None:
    """Two tables of one name clash."""
    assert ("city", "", "name") in places(table(), table(server_name="other"))


def test_server_names_are_unique_in_any_case() -> None:
    """SQLite folds case, so server names that differ in case only clash."""
    assert places(table(name="a", server_name="city"), table(name="b", server_name="CITY")) == [
        ("a", "", "server_name")
    ]


@pytest.mark.parametrize(
    ("column", "attribute"),
    [
        (Column("my name", "string", server_name="name"), "name"),
        (Column("n", "string", server_name="my name", field="name"), "server_name"),
        (Column("n", "string", server_name="_0_version"), "server_name"),
        (Column("n", "text"), "type"),  # type: ignore[arg-type]
        (Column("n", "string", field="a.b"), "field"),
        (Column("n", "string", field="$a"), "field"),
        (Column("n", "string", field="a\0"), "field"),
    ],
)
def test_column(column: Column, attribute: str) -> None:
    """What is wrong with a column is said at its attribute."""
    assert places(table(columns=(Column("_id", "string"), column))) == [("city", column.name, attribute)]


def test_column_names_are_unique() -> None:
    """Two columns of one name clash."""
    twice = (Column("_id", "string"), Column("n", "string"), Column("n", "string", server_name="m"))
    assert places(table(columns=twice)) == [("city", "n", "name")]


def test_column_server_names_are_unique_in_any_case() -> None:
    """SQLite folds the case of columns too."""
    twice = (Column("_id", "string"), Column("n", "string"), Column("N", "string"))
    assert places(table(columns=twice)) == [("city", "n", "server_name")]


@pytest.mark.parametrize("primary_key", [(), ("nope",), ("name",), ("_id", "_id")])
def test_primary_key(primary_key: tuple[str, ...]) -> None:
    """The primary key is the one column of the field `_id`."""
    columns = (Column("_id", "string"), Column("name", "string"))
    assert ("city", "", "primary_key") in places(table(columns=columns, primary_key=primary_key))


def test_primary_key_is_required() -> None:
    """A column of the primary key is never null."""
    assert places(table(columns=(Column("_id", "string", optional=True),))) == [("city", "_id", "optional")]


def test_primary_key_is_scalar() -> None:
    """A json column identifies no row."""
    assert places(table(columns=(Column("_id", "json"),))) == [("city", "_id", "type")]
