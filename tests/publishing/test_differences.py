"""What a publish changes, in words and lists."""

import json
import time
from dataclasses import replace

import pytest

from changesource.publishing.differences import (
    AttributeDifference,
    ColumnDifference,
    Difference,
    DiffLine,
    TableDifference,
    compare_releases,
)
from changesource.publishing.release import Release
from changesource.tables.definition import AppDefinition, Column, Table

ID = Column("_id", "string")
NAME = Column("name", "string", optional=True)
SIZE = Column("size", "number", optional=True)
CITY = Table("city", (ID, NAME, SIZE), ("_id",))


def app(*tables: Table, source: str = "default", **relationships: dict[str, str]) -> AppDefinition:
    return AppDefinition("shop", source, tables, relationships)


def compare(old: AppDefinition | None, new: AppDefinition) -> Difference:
    return compare_releases(None if old is None else Release(old), Release(new))


def change(old: Table, **attributes: object) -> tuple[TableDifference, Difference]:
    """What is different after `old` got other attributes: of the one table, and at all."""
    difference = compare(app(old), app(replace(old, **attributes)))
    [table] = difference.tables
    return table, difference


def test_a_first_version_adds_all_tables() -> None:
    """Before the first version all tables are added, and nothing streams that could go on."""
    difference = compare(None, app(CITY))
    assert [(table.name, table.fate) for table in difference.tables] == [("city", "added")]
    assert difference.starts_over
    assert difference.loaded_collections == ["city"]


def test_equal_releases_have_no_difference() -> None:
    """Versions that say the same are the same."""
    difference = compare(app(CITY), app(CITY))
    assert difference == Difference(True, False, None, (), (), ())
    assert not difference.is_only_order


def test_another_order_of_columns_is_a_difference() -> None:
    """Another order is a difference, though nothing is to be listed."""
    difference = compare(app(CITY), app(replace(CITY, columns=(ID, SIZE, NAME))))
    assert difference.is_only_order
    assert not difference.is_same


def test_an_added_table_is_read_and_a_dropped_one_outdates_clients() -> None:
    """A table that comes is loaded; one that goes outdates clients that know it."""
    land = Table("land", (ID,), ("_id",), collection="lands")
    difference = compare(app(CITY), app(land))
    assert [(table.name, table.fate) for table in difference.tables] == [("land", "added"), ("city", "dropped")]
    assert difference.loaded_collections == ["lands"]
    assert difference.notices[0].startswith("Table city is dropped. Clients with the old schema are refused")


def test_a_dropped_column_keeps_rows_and_outdates_clients() -> None:
    """An optional column goes without its rows being read; clients that know it are refused."""
    table, difference = change(CITY, columns=(ID, NAME))
    assert (table.fate, table.outcome) == ("kept", "Columns are dropped. Its rows stay.")
    assert table.columns == (ColumnDifference("size", "dropped", "number, optional, shows the field size"),)
    assert difference.loaded_collections == []
    assert difference.notices == (
        "Column city.size is dropped. Clients with the old schema are refused (SchemaVersionNotSupported) until they are "
        "updated.",
    )


def test_an_added_column_outdates_no_client() -> None:
    """An optional column comes to the rows that are there, one that is required rebuilds its table; no client is refused."""
    for is_optional, fate in ((True, "extended"), (False, "rebuilt")):
        table, difference = change(CITY, columns=(*CITY.columns, Column("flag", "boolean", optional=is_optional)))
        assert (table.fate, [(column.name, column.change) for column in table.columns]) == (fate, [("flag", "added")])
        assert difference.loaded_collections == ["city"]
        assert "clients fetch its rows again" in difference.notices[0]
        assert not any("refused" in notice for notice in difference.notices)


@pytest.mark.parametrize(
    ("column", "label", "values"),
    [
        (replace(NAME, type="json"), "type", ("string", "json")),
        (replace(NAME, optional=False), "value", ("optional", "required")),
        (replace(NAME, field="title"), "field", ("name", "title")),
        (replace(NAME, name="title"), "name in queries", ("name", "title")),
    ],
)
def test_a_changed_column_lists_old_and_new_values(column: Column, label: str, values: tuple[str, str]) -> None:
    """What is different about a column is listed with what it was."""
    table, _ = change(CITY, columns=(ID, column, SIZE))
    [found] = table.columns
    assert (found.change, found.changes) == ("changed", (AttributeDifference(label, *values),))


def test_a_retyped_column_outdates_clients() -> None:
    """zero-cache refuses a client that knows a column by another type."""
    _, difference = change(CITY, columns=(ID, replace(NAME, type="json"), SIZE))
    assert difference.notices[0].startswith("Column city.name becomes json.")


def test_another_primary_key_outdates_clients() -> None:
    """zero-cache refuses a client with another primary key."""
    table, difference = change(replace(CITY, columns=(ID, replace(NAME, optional=False))), primary_key=("_id", "name"))
    assert table.attributes == (AttributeDifference("primary key", "_id", "_id, name"),)
    assert difference.notices[0].startswith("The primary key of city changes.")


def test_a_changed_mapping_is_compared_by_lines() -> None:
    """A mapping is compared line by line, and its table's rows are read again."""
    table, _ = change(replace(CITY, mapping='{"filter":{"size":1}}'), mapping='{"filter":{"size":2}}')
    assert table.fate == "reloaded"
    [text] = table.texts
    assert text.label == "mapping"
    assert [line for line in text.lines if line.mark != " "] == [
        DiffLine("-", '    "size": 1'),
        DiffLine("+", '    "size": 2'),
    ]


def test_lines_far_from_a_change_are_left_out() -> None:
    """What is far from a change is left out, with a sign where."""
    old = {f"field{number}": 1 for number in range(40)}
    mapping = '{{"filter":{}}}'
    before = mapping.format(str(old).replace("'", '"'))
    after = mapping.format(str(old | {"field5": 2, "field35": 2}).replace("'", '"'))
    table, _ = change(replace(CITY, mapping=before), mapping=after)
    assert [line.mark for line in table.texts[0].lines].count("…") == 1


def test_changed_relationships_touch_no_table() -> None:
    """Relationships belong to the app, and no table is touched."""
    difference = compare(app(CITY), app(CITY, city={"land": "x"}))
    assert [text.label for text in difference.texts] == ["relationships"]
    assert difference.tables == ()


def test_another_source_keeps_no_table() -> None:
    """It starts over."""
    difference = compare(app(CITY), app(CITY, source="archive"))
    assert difference.starts_over
    assert [table.fate for table in difference.tables] == ["rebuilt"]
    assert difference.source == AttributeDifference("source", "default", "archive")


def test_filter_columns_need_pre_images_but_no_rows() -> None:
    """What row filters can ask for is said in words, with the pre-images that it takes; no rows are read again."""
    table, difference = change(CITY, collection="cities", filter_columns=("name",))
    assert table.fate == "reloaded"
    table, difference = change(CITY, filter_columns=("name",))
    assert (table.fate, table.outcome) == ("kept", "Its rows stay.")
    assert table.attributes == (AttributeDifference("filter columns", "", "name"),)
    assert table.notes == (
        "Row filters of clients can use name.",
        "It needs pre-images of the collection city: publishing switches them on if they are off.",
    )
    assert difference.loaded_collections == []
    assert difference.texts == ()
    assert not difference.is_only_order


def test_only_the_table_that_needs_pre_images_mentions_them() -> None:
    """Its neighbours of the same collection do not."""
    town = Table("town", (ID, NAME), ("_id",), collection="city")
    new = app(replace(CITY, filter_columns=("name",)), replace(town, permissions='{"select":[{}]}'))
    city, neighbour = compare(app(CITY, town), new).tables
    assert (len(city.notes), neighbour.notes) == (2, ())


def test_pre_images_that_are_already_needed_are_not_mentioned() -> None:
    """Pre-images that are needed already are not mentioned."""
    table, _ = change(replace(CITY, filter_columns=("name",)), filter_columns=("size",))
    assert table.attributes == (AttributeDifference("filter columns", "name", "size"),)
    assert table.notes == (
        "Row filters of clients can use size.",
        "Row filters of clients can no longer use name.",
    )


def test_changed_indexes_read_no_rows() -> None:
    """They are listed, and no rows are read again."""
    table, difference = change(replace(CITY, indexes=(("name",),)), indexes=(("size", "name"), ("size",)))
    assert (table.fate, table.outcome) == ("kept", "Its rows stay.")
    assert table.attributes == (AttributeDifference("indexes", "name", "size, name; size"),)
    assert table.notes == ("zero-cache builds the new indexes from the rows that it has.",)
    assert (difference.loaded_collections, difference.texts, difference.is_only_order) == ([], (), False)


@pytest.mark.parametrize("old", [None, app(Table("land", (ID,), ("_id",)))])
def test_an_added_table_mentions_its_filter_columns(old: AppDefinition | None) -> None:
    """A table that comes says what it takes, in a first version too."""
    difference = compare(old, app(replace(CITY, filter_columns=("name",)), Table("land", (ID,), ("_id",))))
    assert [(table.name, len(table.notes)) for table in difference.tables if table.notes] == [("city", 2)]


def test_another_source_needs_pre_images_too() -> None:
    """The other source has to record pre-images as well."""
    filtered = replace(CITY, filter_columns=("name",))
    [table] = compare(app(filtered), app(filtered, source="archive")).tables
    assert table.notes == ("It needs pre-images of the collection city: publishing switches them on if they are off.",)


def test_changed_publications_touch_no_table() -> None:
    """What zero-caches can ask for is shown line by line and in words; no table is touched."""
    tables = (CITY, Table("land", (ID,), ("_id",)))
    old = AppDefinition("shop", "default", tables, publications={"mobile": ["city"], "web": ["city", "land"]})
    new = replace(old, publications={"mobile": ["land"], "desk": ["city", "land"]})
    difference = compare(old, new)
    assert difference.tables == ()
    assert [text.label for text in difference.texts] == ["publications"]
    assert difference.notices == (
        "Publication mobile gains land: zero-caches that ask for it get more tables.",
        "Publication mobile loses city: zero-caches no longer get it, unless through another one.",
        "zero-caches can ask for the publication desk: city, land.",
        "Publication web is dropped: remove it from ZERO_APP_PUBLICATIONS wherever a zero-cache asks for it.",
    )


def test_texts_that_are_too_long_are_not_compared() -> None:
    """Texts that would take seconds to compare are not compared, and it is said how long they are."""
    old, new = (json.dumps({"filter": {"a": {"$in": [n % k for n in range(20_000)]}}}) for k in (300, 299))
    began = time.process_time()
    table, _ = change(replace(CITY, mapping=old), mapping=new)
    assert time.process_time() - began < 3
    [text] = table.texts
    assert [line.mark for line in text.lines] == ["-", "+"]
    assert text.lines[1].text.endswith("lines, too many to be compared here")
