"""version_changes.py: what a replica of one version needs to become one of another."""

from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from changesource.publishing.client_view import Access, ClientView
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.version_changes import DroppedColumn, DroppedIndex, VersionChanges, version_changes
from changesource.tables.definition import AppDefinition, Column, Table

CITY = Table(
    "city", (Column("_id", "string"), Column("name", "string", optional=True), Column("n", "number")), ("_id",)
)
RIVER = Table("river", (Column("_id", "string"),), ("_id",))


def changes(old: list[Table], new: list[Table]) -> VersionChanges:
    views = (
        ClientView(CompiledVersion(AppDefinition("shop", "default", tuple(each)), 1), Access()) for each in (old, new)
    )
    return version_changes(*views)


def names(tables: object) -> list[str]:
    return [table.table.name for table in tables]  # type: ignore[attr-defined]


def test_equal_views_have_no_changes() -> None:
    """The same tables, or tables that are only called otherwise in queries, change nothing in a replica."""
    renamed = replace(CITY, name="town", columns=(CITY.columns[0], *CITY.columns[1:]))
    assert changes([CITY, RIVER], [RIVER, CITY]) == VersionChanges()
    assert changes([CITY], [renamed]) == VersionChanges()


def test_tables_are_added_and_dropped() -> None:
    """Tables come and go."""
    found = changes([CITY], [RIVER])
    assert (found.dropped, names(found.added), names(found.loaded)) == (["city"], ["river"], ["river"])


def test_a_dropped_optional_column_keeps_rows() -> None:
    """An optional column goes without a look at the rows."""
    found = changes([CITY], [replace(CITY, columns=(CITY.columns[0], CITY.columns[2]))])
    assert found == VersionChanges(dropped_columns=[DroppedColumn("city", "name")])


def test_a_column_dropped_from_a_mapping_reloads_the_table() -> None:
    """A document whose row the column had cost, since it could not be computed, has one without it."""
    mapped = replace(CITY, mapping='{"projection": {"name": {"$toDate": "$name"}, "n": 1}}')
    found = changes([mapped], [replace(mapped, columns=(CITY.columns[0], CITY.columns[2]))])
    assert found.dropped_columns == [DroppedColumn("city", "name")]
    assert names(found.reloaded) == ["city"]


def test_a_column_dropped_from_a_mapping_beside_one_that_is_added_rebuilds_the_table() -> None:
    """An added column alone would only extend it."""
    mapped = replace(CITY, mapping='{"projection": {"name": {"$toDate": "$name"}, "n": 1}}')
    found = changes([mapped], [replace(mapped, columns=(CITY.columns[0], NEW, CITY.columns[2]))])
    assert names(found.rebuilt) == ["city"]
    assert (found.extended, found.dropped_columns) == ([], [])


@pytest.mark.parametrize(
    "columns",
    [
        (*CITY.columns, Column("new", "json")),
        CITY.columns[:2],
        (CITY.columns[0], Column("name", "json", optional=True), CITY.columns[2]),
        (CITY.columns[0], Column("name", "string"), CITY.columns[2]),
        (CITY.columns[0], CITY.columns[1], Column("n", "number", optional=True)),
        (Column("_id", "number"), *CITY.columns[1:]),
    ],
    ids=["required one added", "required one dropped", "retyped", "required", "optional", "key retyped"],
)
def test_other_changes_of_columns_rebuild_the_table(columns: tuple[Column, ...]) -> None:
    """Any other change of columns makes the table again, with its index and its rows."""
    found = changes([CITY], [replace(CITY, columns=columns)])
    assert names(found.rebuilt) == names(found.loaded) == ["city"]
    assert not found.dropped_columns
    assert not found.extended


NEW = Column("new", "json", optional=True, field="old")


def test_an_added_optional_column_extends_the_table() -> None:
    """An optional column comes to the rows that are there, beside others that go."""
    found = changes([CITY], [replace(CITY, columns=(CITY.columns[0], NEW, CITY.columns[2]), indexes=(("n",),))])
    [extended] = found.extended
    assert (extended.columns, extended.fields) == (("new",), {"old"})
    assert [column.name for column in extended.earlier.table.spec.columns] == ["_id", "name", "n"]
    assert [column.name for column in extended.table.table.spec.columns] == ["_id", "new", "n"]
    assert found.dropped_columns == [DroppedColumn("city", "name")]
    assert [added.columns for added in found.added_indexes] == [("n",)]
    assert not found.loaded


def test_an_added_column_of_a_mapping_may_depend_on_any_field() -> None:
    """What it depends on is not known."""
    mapped = replace(CITY, mapping='{"filter": {"n": 1}}')
    [extended] = changes([mapped], [replace(mapped, columns=(*CITY.columns, NEW))]).extended
    assert extended.fields is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {"mapping": '{"filter": {"n": 1}}'}),
        ({}, {"collection": "towns"}),
        ({}, {"primary_key": ("_id", "n")}),
        (
            {"mapping": '{"pipeline": [{"$unwind": "$n"}]}', "primary_key": ("n",)},
            {"mapping": '{"pipeline": [{"$unwind": "$n"}]}', "primary_key": ("n",)},
        ),
    ],
    ids=["mapping", "collection", "key", "rows of arrays"],
)
def test_an_added_column_to_other_rows_rebuilds_the_table(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Where rows may be others as well, the table is made again."""
    found = changes([replace(CITY, **old)], [replace(CITY, columns=(*CITY.columns, NEW), **new)])
    assert names(found.rebuilt) == ["city"]
    assert (found.extended, found.added_indexes) == ([], [])


def test_an_added_column_with_another_row_filter_rebuilds_the_table() -> None:
    """A client that is shown other rows gets the table again."""
    filtered = replace(CITY, filter_columns=("name",))
    old, new = (
        ClientView(CompiledVersion(AppDefinition("shop", "default", (table,)), 1), Access(row_filters={"city": rule}))
        for table, rule in [(filtered, {"name": "a"}), (replace(filtered, columns=(*CITY.columns, NEW)), {"name": "b"})]
    )
    assert names(version_changes(old, new).rebuilt) == ["city"]


def test_another_key_rebuilds_the_table() -> None:
    """A primary key is an index, so the table is made again."""
    assert names(changes([CITY], [replace(CITY, primary_key=("_id", "n"))]).rebuilt) == ["city"]


@pytest.mark.parametrize(
    "table",
    [
        replace(CITY, collection="towns"),
        replace(CITY, mapping='{"filter": {"n": 1}}'),
        replace(CITY, columns=(CITY.columns[0], replace(CITY.columns[1], field="title"), CITY.columns[2])),
    ],
    ids=["collection", "mapping", "field"],
)
def test_another_source_of_rows_reloads_the_table(table: Table) -> None:
    """Other rows in the same columns replace those that are there."""
    found = changes([CITY], [table])
    assert names(found.reloaded) == names(found.loaded) == ["city"]
    assert not found.rebuilt


def test_indexes_are_added_and_dropped() -> None:
    """Indexes come and go without a look at the rows; they are known by the server names of their columns."""
    old = replace(CITY, indexes=(("name",), ("n", "name")))
    title = replace(CITY.columns[1], name="title")
    new = replace(CITY, columns=(CITY.columns[0], title, CITY.columns[2]), indexes=(("title", "n"), ("title",)))
    found = changes([old], [new])
    assert found.dropped_indexes == [DroppedIndex("city", ("n", "name"))]
    assert [(added.table.table.name, added.columns) for added in found.added_indexes] == [("city", ("name", "n"))]
    assert not found.loaded


def test_indexes_of_a_new_table_come_with_it() -> None:
    """It is made with all its indexes, and dropped with them."""
    old = replace(CITY, indexes=(("name",),))
    new = replace(old, primary_key=("_id", "n"), indexes=(("n",),))
    for found in (changes([old], [new]), changes([RIVER], [new])):
        assert (found.dropped_indexes, found.added_indexes) == ([], [])
        assert [table.table.spec.indexes for table in found.loaded] == [(("n",),)]


columns = st.builds(
    Column,
    name=st.sampled_from(["a", "b", "c"]),
    type=st.sampled_from(["string", "number"]),
    optional=st.booleans(),
    field=st.sampled_from(["", "x"]),
)
tables = st.builds(
    lambda name, others, key, mapping, indexes: Table(
        name,
        (Column("_id", "string"), *others),
        ("_id", *(column.name for column in others[:key])),
        mapping=mapping,
        indexes=tuple(index for index in indexes if set(index) <= {column.name for column in others}),
    ),
    name=st.sampled_from(["city", "river", "lake"]),
    others=st.lists(columns, max_size=3, unique_by=lambda column: column.name),
    key=st.integers(0, 1),
    mapping=st.sampled_from(["", '{"filter":{"x":1}}']),
    indexes=st.lists(st.sampled_from([("a",), ("b",), ("a", "b"), ("b", "a"), ("c", "a")]), max_size=3, unique=True),
)
definitions = st.lists(tables, max_size=3, unique_by=lambda table: table.name)


@given(definitions, definitions)
def test_a_replica_follows_any_changes(old: list[Table], new: list[Table]) -> None:
    """Whatever changes, zero-cache meets nothing that it ends for, and has the new version's tables afterwards."""
    found = changes(old, new)
    replica = {table.server_name: {column.server_name for column in table.columns} for table in old}
    indexes = {table.server_name: {table.primary_key, *table.indexes} for table in old}
    for index in found.dropped_indexes:
        indexes[index.table].remove(index.columns)
    for dropped in found.dropped_columns:
        assert dropped.column not in {*chain.from_iterable(indexes[dropped.table])}, "the column is in an index"
        replica[dropped.table].remove(dropped.column)
    for extended in found.extended:
        assert replica[extended.table.table.name].isdisjoint(extended.columns), "the column is there"
        replica[extended.table.table.name].update(extended.columns)
    for name in [*found.dropped, *names(found.rebuilt)]:
        del replica[name], indexes[name]
    for table in [*found.rebuilt, *found.added]:
        assert table.table.name not in replica, "the table is there"
        replica[table.table.name] = {column.name for column in table.table.spec.columns}
        indexes[table.table.name] = {table.table.spec.key, *table.table.spec.indexes}
    for table in found.reloaded:
        assert table.table.name in replica
    for added in found.added_indexes:
        assert added.columns not in indexes[added.table.table.name], "the index is there"
        assert replica[added.table.table.name].issuperset(added.columns), "a column of the index is missing"
        indexes[added.table.table.name].add(added.columns)
    assert replica == {table.server_name: {column.server_name for column in table.columns} for table in new}
    assert indexes == {table.server_name: {table.primary_key, *table.indexes} for table in new}
    sent = [*names(found.loaded), *(extended.table.table.name for extended in found.extended)]
    assert len(set(sent)) == len(sent)
