"""definition_problems.py: what may not be published, at which place, and what is hardly intended."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from changesource.protocol.requests import MAX_PUBLICATIONS
from changesource.publishing.definition_problems import Problem, find_problems, find_table_problems, find_warnings
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import (
    MARKERS_COLLECTION,
    MAX_FILTER_COLUMNS,
    MAX_INDEX_COLUMNS,
    MAX_INDEXES,
    AppDefinition,
    Column,
    Table,
)
from tests.tables.definitions import definitions, table

ID = Column("_id", "string")


def places(*tables: Table, app_id: str = "shop") -> list[tuple[str, str, str]]:
    """Table, column and attribute of every problem."""
    problems = find_problems(AppDefinition(app_id, "default", tables))
    return [(problem.table, problem.column, problem.attribute) for problem in problems]


@given(definitions)
def test_every_problem_of_any_definition_has_a_remedy(definition: AppDefinition) -> None:
    """Nothing is raised, whatever a definition holds."""
    assert all(isinstance(problem, Problem) and problem.message for problem in find_problems(definition))


def test_a_sound_definition_has_no_problems() -> None:
    """A sound one is one that zero-cache accepts."""
    assert places(table()) == []


def test_a_problem_names_its_place() -> None:
    """Its text begins with the table, the column and the attribute."""
    assert str(Problem("type", "Choose.", table="city", column="name")) == "city.name.type: Choose."


@pytest.mark.parametrize("app_id", ["", "Shop", "my-shop", "a b", "ä", "a" * 49])
def test_an_app_id_that_zero_refuses_is_a_problem(app_id: str) -> None:
    """An app id that Zero refuses is a problem of `app_id`."""
    assert places(table(), app_id=app_id) == [("", "", "app_id")]


def test_an_app_without_tables_is_a_problem() -> None:
    """It has nothing to publish."""
    assert places() == [("", "", "tables")]


@pytest.mark.parametrize("name", ["", "1st", "my table", "städte", "x" * 64, "a.b"])
def test_a_table_name_is_an_identifier_of_63_characters(name: str) -> None:
    """At most."""
    assert places(table(name=name, server_name="city")) == [(name, "", "name")]


@pytest.mark.parametrize("name", ["_zero_x", "_ZERO.x", "sqlite_master"])
def test_a_reserved_table_name_is_a_problem(name: str) -> None:
    """Whatever its case: zero-cache and SQLite keep these names for themselves."""
    assert ("city", "", "server_name") in places(table(server_name=name))


@pytest.mark.parametrize("collection", ["system.views", "a$b", "a\0b"])
def test_a_collection_has_a_change_stream(collection: str) -> None:
    """One without, and one that cannot exist, is refused."""
    assert places(table(collection=collection)) == [("city", "", "collection")]


@pytest.mark.parametrize("collection", [MARKERS_COLLECTION, "zero_sources_", "zero_sources_x.y"])
def test_a_collection_of_this_project_is_not_published(collection: str) -> None:
    """Whatever the name of the table."""
    assert places(table(collection=collection)) == [("city", "", "collection")]
    assert ("zero_sources_x", "", "collection") in places(table(name="zero_sources_x", server_name="", collection=""))
    assert places(table(collection=f"x{collection}")) == places(table(collection=collection.upper())) == []


@pytest.mark.parametrize("stage", ["$lookup", "$graphLookup", "$unionWith", "$out", "$merge"])
def test_a_mapping_reaches_no_other_collection(stage: str) -> None:
    """No stage reads or writes another collection than that of the table."""
    argument = {"from": MARKERS_COLLECTION, "coll": MARKERS_COLLECTION, "into": MARKERS_COLLECTION}
    assert places(table(mapping=json.dumps({"pipeline": [{stage: argument}]}))) == [("city", "", "mapping")]
    assert places(table(mapping=json.dumps({"source": MARKERS_COLLECTION}))) == [("city", "", "mapping")]


UNPRINTABLE = [
    *("a\nb", "a\tb", "a\x1b[31mb", "a\x7fb", "a\x85b"),  # control characters
    *("a\u200bb", "a\u202eb", "a\u2066b", "\ufeffa"),  # what is not seen, and what turns the direction of text
    *("a\ud800b", "a\ue000b", "a\u0378b", "a\u2028b", "a\u2029b", "a\u00a0b", "a\u3000b"),
    *(" a", "a ", " "),
]


@pytest.mark.parametrize("name", UNPRINTABLE)
def test_names_are_printable(name: str) -> None:
    """No name has an invisible character, one that UTF-8 cannot write, or a space at an end; and no message has one."""
    assert places(table(collection=name)) == [("city", "", "collection")]
    column = Column("size", "number", field=name)
    assert places(replace(table(), columns=(*table().columns, column))) == [("city", "size", "field")]
    for wrong in (
        AppDefinition(name, "default", (table(),)),
        AppDefinition("shop", "default", (table(name=name),)),
        AppDefinition("shop", "default", (table(server_name=name),)),
        AppDefinition("shop", "default", (replace(table(), columns=(*table().columns, Column(name, "number"))),)),
        AppDefinition("shop", "default", (table(),), {"city": {name: []}}),
        AppDefinition("shop", "default", (table(),), {name: {}}),
        AppDefinition("shop", "default", (table(),), {}, {name: ["city"]}),
        AppDefinition("shop", "default", (table(),), {}, {"all": [name]}),
    ):
        problems = find_problems(wrong)
        assert problems
        assert all(str(problem).isprintable() for problem in problems)
        assert AppDefinition.from_json(wrong.to_json()) == wrong  # what is stored is read all the same


@pytest.mark.parametrize("name", ["orders", "Städte", "城市", "a b", "a.b", "o'neil", "-", "😀"])
def test_any_other_name_of_a_collection_may_be_published(name: str) -> None:
    """If MongoDB accepts it."""
    assert places(table(collection=name)) == []


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
def test_a_problem_of_a_column_is_said_at_its_attribute(column: Column, attribute: str) -> None:
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


@pytest.mark.parametrize("primary_key", [(), ("nope",), ("_id", "nope"), ("_id", "_id")])
def test_a_primary_key_names_columns_of_the_table_once(primary_key: tuple[str, ...]) -> None:
    """The primary key names columns of the table, each once."""
    columns = (Column("_id", "string"), Column("name", "string"))
    assert places(table(columns=columns, primary_key=primary_key)) == [("city", "", "primary_key")]


@pytest.mark.parametrize(
    ("primary_key", "needs_pre_images"), [(("_id",), False), (("name",), True), (("_id", "name"), True)]
)
def test_any_required_columns_can_be_the_key(primary_key: tuple[str, ...], needs_pre_images: bool) -> None:
    """Only `_id` alone tells which row a deleted document had. Other keys need pre-images."""
    keyed = table(columns=(Column("_id", "string"), Column("name", "string")), primary_key=primary_key)
    assert places(keyed) == []
    assert CompiledTable(keyed).needs_pre_images is needs_pre_images


def test_a_column_of_the_primary_key_is_never_null() -> None:
    """A column of the primary key is never null."""
    assert places(table(columns=(Column("_id", "string", optional=True),))) == [("city", "_id", "optional")]


def test_a_json_column_identifies_no_row() -> None:
    """A json column identifies no row."""
    assert places(table(columns=(Column("_id", "json"),))) == [("city", "_id", "type")]


FILTERED = (Column("_id", "string"), Column("tenant", "string", optional=True), Column("tags", "json", optional=True))


@pytest.mark.parametrize(("filter_columns", "needs_pre_images"), [((), False), (("tenant",), True), (("_id",), True)])
def test_columns_with_one_plain_value_can_be_filter_columns(
    filter_columns: tuple[str, ...], needs_pre_images: bool
) -> None:
    """Which clients had a row before a change is told by its pre-image."""
    filtered = table(columns=FILTERED, filter_columns=filter_columns)
    assert places(filtered) == []
    assert CompiledTable(filtered).needs_pre_images is needs_pre_images


@pytest.mark.parametrize(
    ("filter_columns", "message"),
    [
        (("nope",), "There is no column 'nope'."),
        (("tenant", "tenant"), "The column 'tenant' is listed twice."),
        (("tags",), "The column 'tags' is json"),
    ],
)
def test_other_columns_cannot_be_filter_columns(filter_columns: tuple[str, ...], message: str) -> None:
    """Those that do not exist, are listed twice, or are json."""
    [problem] = find_problems(
        AppDefinition("shop", "default", (table(columns=FILTERED, filter_columns=filter_columns),))
    )
    assert (problem.table, problem.column, problem.attribute) == ("city", "", "filter_columns")
    assert problem.message.startswith(message)


def test_there_are_not_too_many_filter_columns() -> None:
    """Each takes room in the log with each change."""
    columns = tuple(Column(f"c{number}", "string") for number in range(MAX_FILTER_COLUMNS + 1))
    names = tuple(column.name for column in columns)
    filtered = table(columns=(Column("_id", "string"), *columns))
    assert places(replace(filtered, filter_columns=names[1:])) == []
    assert places(replace(filtered, filter_columns=names)) == [("city", "", "filter_columns")]


INDEXED = (*FILTERED, Column("size", "number"))


@pytest.mark.parametrize(
    ("indexes", "message"),
    [
        (((),), "An index has at least one column."),
        ((("nope",),), "There is no column 'nope'."),
        ((("size", "size"),), "The column 'size' is listed twice in one index."),
        ((("size", "tags"),), "The column 'tags' is json"),
        ((("size", "tenant"), ("tenant",), ("size", "tenant")), "The index on size, tenant is listed twice."),
        ((("_id",),), "The primary key has an index already."),
    ],
)
def test_an_index_has_columns_by_which_queries_find_rows(indexes: tuple[tuple[str, ...], ...], message: str) -> None:
    """And there is no other index like it."""
    [problem] = find_problems(AppDefinition("shop", "default", (table(columns=INDEXED, indexes=indexes),)))
    assert (problem.table, problem.column, problem.attribute) == ("city", "", "indexes")
    assert problem.message.startswith(message)


def test_the_most_indexes_with_the_most_columns_are_accepted() -> None:
    """And no more."""
    columns = tuple(Column(f"c{number}", "string") for number in range(MAX_INDEXES + MAX_INDEX_COLUMNS + 1))
    names = [column.name for column in columns]
    indexes = tuple(tuple(names[first : first + MAX_INDEX_COLUMNS]) for first in range(MAX_INDEXES))
    indexed = table(columns=(Column("_id", "string"), *columns), indexes=indexes)
    assert places(indexed) == []
    assert places(replace(indexed, indexes=(*indexes, (names[0],)))) == [("city", "", "indexes")]
    assert places(replace(indexed, indexes=(tuple(names[: MAX_INDEX_COLUMNS + 1]),))) == [("city", "", "indexes")]


# Publications


def publication_messages(publications: Any) -> list[str]:
    problems = find_problems(AppDefinition("shop", "default", (table(),), publications=publications))
    assert {(problem.table, problem.column, problem.attribute) for problem in problems} <= {("", "", "publications")}
    return [problem.message for problem in problems]


@pytest.mark.parametrize("name", ["mobile", "Mobile-2_x", "0", "-", "a" * 63])
def test_a_publication_is_a_group_of_tables(name: str) -> None:
    """With a name that Zero accepts."""
    assert publication_messages({name: ["city"]}) == []


@pytest.mark.parametrize(
    ("publications", "message"),
    [
        (["city"], "Write an object with a list of tables for each name"),
        ("city", "Write an object with a list of tables for each name"),
        ({"mobile": "city"}, "mobile: Write a list of names of tables."),
        ({"mobile": [1]}, "mobile: Write a list of names of tables."),
        ({"mobile": {"city": 1}}, "mobile: Write a list of names of tables."),
        ({"mobile": []}, "mobile: Name at least one table"),
        ({"mobile": ["town"]}, "mobile: There is no table 'town'."),
        ({"mobile": ["city", "city"]}, "mobile: The table 'city' is listed twice."),
        ({"": ["city"]}, ": A name consists of letters"),
        ({"_mobile": ["city"]}, "_mobile: A name consists of letters"),
        ({"a b": ["city"]}, "a b: A name consists of letters"),
        ({"a,b": ["city"]}, "a,b: A name consists of letters"),
        ({"ä": ["city"]}, "ä: A name consists of letters"),
        ({"a\n": ["city"]}, "a\\n: A name consists of letters"),
        ({"a" * 64: ["city"]}, f"{'a' * 63}…: Use at most 63 characters."),
    ],
)
def test_a_problem_of_publications_names_the_publication(publications: Any, message: str) -> None:
    """What is wrong is said with the publication that has it."""
    [found] = publication_messages(publications)
    assert found.startswith(message)


def test_there_are_not_too_many_publications() -> None:
    """A zero-cache can ask for all of them."""
    publications = {f"p{number}": ["city"] for number in range(MAX_PUBLICATIONS + 1)}
    assert publication_messages(publications) == [f"An app has at most {MAX_PUBLICATIONS} publications. Take some out."]
    del publications["p0"]
    assert publication_messages(publications) == []


# Mappings


def mapped(mapping: Any, *columns: Column, key: tuple[str, ...] = ("_id",)) -> Table:
    """A table with the column `_id`, if it is the key, and `columns`."""
    id_columns = (Column("_id", "string"),) if "_id" in key else ()
    return table(columns=(*id_columns, *columns), primary_key=key, mapping=json.dumps(mapping))


@pytest.mark.parametrize(
    ("mapping", "beginning"),
    [
        ({"filter": {"a": {"$near": 1}}}, "filter.a.$near: "),
        ({"filter": []}, "filter: "),
        ({"projection": {"a": {"$nope": 1}}}, "projection.a: "),
        ({"projection": {"a": 1, "b": 0}}, "projection: "),
        ({"pipeline": [{"$match": {}}, {"$addFields": {"a": {"$divide": [1]}}}]}, "pipeline[1].$addFields.a.$divide: "),
        ({"pipeline": [{"$lookup": {}}]}, "pipeline[0]: $lookup is refused: "),
        ({"pipeline": [], "filter": {}}, "filter: "),
        ({"sort": 1}, "sort: "),
        ({"source": "towns"}, "source: "),
        ([], "A mapping is a JSON object"),
    ],
)
def test_a_problem_of_a_mapping_names_the_place_in_it(mapping: Any, beginning: str) -> None:
    """What is wrong with a mapping is said at `mapping`, and begins with the place within it."""
    [problem] = find_problems(AppDefinition("shop", "default", (table(mapping=json.dumps(mapping)),)))
    assert (problem.table, problem.column, problem.attribute) == ("city", "", "mapping")
    assert problem.message.startswith(beginning)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"filter":\n {"a": }}', "line 2, column 8"),
        ('{"filter": {"a": NaN}}', "NaN is not JSON"),
        ('{"filter": {"a": 1, "a": 2}}', "'a' twice"),
        ('{"filter": {"a": {"$oid": "x"}}}', "not Extended JSON"),
        ('{"filter": {"a": "\\u0000"}}', "cannot be stored"),
        ('{"filter": {"a": "\\ud800"}}', "cannot be stored"),
        ("[" * 20_000 + "]" * 20_000, "nested more than 100 deep"),
        ('{"filter":' + '{"a":' * 150 + "1" + "}" * 151, "100 deep"),
    ],
)
def test_text_that_is_not_a_mapping_is_a_problem(text: str, message: str) -> None:
    """So is what is wrong with the text."""
    [problem] = find_problems(AppDefinition("shop", "default", (table(mapping=text),)))
    assert problem.attribute == "mapping"
    assert message in problem.message


def test_a_required_column_needs_a_field_that_the_mapping_gives() -> None:
    """No document would have a row."""
    assert places(mapped({"projection": {"size": 1}}, Column("name", "string"))) == [("city", "name", "field")]


def test_an_optional_column_that_is_always_null_is_warned_of() -> None:
    """It is always null. It can be published."""
    table = mapped({"projection": {"place.name": 1}}, Column("name", "string", optional=True))
    assert places(table) == []
    [warning] = find_warnings(table)
    assert str(warning).startswith("city.name.field: This column is always null.")


@pytest.mark.parametrize("mapping", [{}, {"filter": {"a": 1}}, {"projection": {"name": 1}}, {"projection": {"a": 0}}])
def test_a_field_that_the_mapping_may_give_is_not_warned_of(mapping: Any) -> None:
    """A field that the mapping may give is not warned of."""
    assert list(find_warnings(mapped(mapping, Column("name", "string", optional=True)))) == []


def test_what_is_not_a_mapping_is_not_warned_of() -> None:
    """It is a problem."""
    assert list(find_warnings(table(mapping="{"))) == []


@pytest.mark.parametrize(
    ("expression", "column_type"),
    [
        ({"$toUpper": "$a"}, "number"),
        ({"$size": "$a"}, "boolean"),
        ({"$isArray": "$a"}, "number"),
        ("$$ROOT", "number"),
    ],
)
def test_a_column_that_no_value_fits_is_refused_at_its_type(expression: Any, column_type: str) -> None:
    """Whether it is required or not."""
    for optional in (False, True):
        column = Column("name", column_type, optional=optional)  # type: ignore[arg-type]
        assert places(mapped({"projection": {"name": expression}}, column)) == [("city", "name", "type")]


@pytest.mark.parametrize(
    ("expression", "column_type"), [({"$toUpper": "$a"}, "string"), ({"$toDate": "$a"}, "number"), ("$a", "boolean")]
)
def test_a_column_that_some_value_may_fit_is_accepted(expression: Any, column_type: str) -> None:
    """One that some value may fit is not."""
    assert places(mapped({"projection": {"name": expression}}, Column("name", column_type))) == []  # type: ignore[arg-type]


def test_a_column_that_is_always_null_has_to_be_optional() -> None:
    """A column that is always null has to be optional."""
    mapping = {"projection": {"name": {"$literal": None}}}
    assert places(mapped(mapping, Column("name", "string"))) == [("city", "name", "optional")]
    assert places(mapped(mapping, Column("name", "string", optional=True))) == []


@pytest.mark.parametrize(
    ("mapping", "needs_pre_images"),
    [
        ({"projection": {"key": {"$concat": ["x", {"$toString": "$_id"}]}}}, False),
        ({"projection": {"key": "$_id.part"}}, False),
        ({"projection": {"key": "$code"}}, True),
        ({"pipeline": [{"$unwind": "$items"}, {"$project": {"key": "$items.sku"}}]}, True),
        ({"pipeline": [{"$unwind": "$items"}, {"$project": {"key": {"$toString": "$_id"}}}]}, True),
    ],
)
def test_a_key_can_be_computed(mapping: Any, needs_pre_images: bool) -> None:
    """From `_id` alone, and with one row a document, it needs no pre-images."""
    keyed = mapped(mapping, Column("key", "string"), key=("key",))
    assert places(keyed) == []
    assert CompiledTable(keyed).needs_pre_images is needs_pre_images


@pytest.mark.parametrize("expression", ["$missing.x", {"$literal": 1}, {"$concat": ["a", "b"]}])
def test_a_key_that_is_the_same_for_all_documents_is_a_problem(expression: Any) -> None:
    """All of them would be one row."""
    found = places(mapped({"projection": {"key": expression}}, Column("key", "string"), key=("key",)))
    assert found == ([] if expression == "$missing.x" else [("city", "", "primary_key")])


@pytest.mark.parametrize(
    ("build_table", "place"),
    [
        (
            lambda: Table(
                "city", (ID,), ("_id",), mapping='{"filter": {"$or": [' + '{"a": 1},' * 300_000 + '{"a": 1}]}}'
            ),
            "mapping",
        ),
        (
            lambda: Table("city", (ID,), ("_id",), permissions='{"select": [' + '{"_id": "1"},' * 200_000 + "{}]}"),
            "permissions",
        ),
        (lambda: Table("city", (ID, *(Column(f"c{i}", "string") for i in range(100_000))), ("_id",)), "name"),
    ],
    ids=["mapping", "permissions", "columns"],
)
def test_a_definition_that_is_too_large_is_refused_at_once(build_table: Callable[[], Table], place: str) -> None:
    """Without looking into it."""
    table = build_table()
    began = time.process_time()
    problems = find_problems(AppDefinition("shop", "default", (table,)))
    assert time.process_time() - began < 0.1
    assert [(problem.table, problem.attribute) for problem in problems] == [("city", place)]
    assert list(find_table_problems(table)) == problems


def test_an_app_with_too_many_tables_or_too_much_text_is_refused() -> None:
    """So is an app of too many tables, or of too much text in all."""
    tables = tuple(Table(f"t{number}", (ID,), ("_id",)) for number in range(1_001))
    assert str(*find_problems(AppDefinition("shop", "default", tables))).startswith(
        "tables: An app has at most 1,000 tables"
    )
    text = '{"filter": {"a": "%s"}}' % ("x" * 40_000)
    tables = tuple(Table(f"t{number}", (ID,), ("_id",), mapping=text) for number in range(13))
    assert "500,000 characters" in str(*find_problems(AppDefinition("shop", "default", tables)))
    assert find_problems(AppDefinition("shop", "default", tables[:12])) == []


def test_a_query_cannot_be_in_another_query() -> None:
    """Clients get the queries as one object, in which `a.b` is in `a`."""
    written = {"cities": {"table": "t"}, "cities.all": {"table": "t"}}
    app = AppDefinition("shop", "default", (Table("t", (Column("_id", "string"),), ("_id",)),), queries=written)
    assert [str(problem) for problem in find_problems(app)] == [
        "queries: Names are paths, and so there cannot be both 'cities' and 'cities.all'. Give one of them another name."
    ]
