"""problems.py: what may not be published, at which place, and what is published and hardly meant."""

import json
import time
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
def test_nonsense_is_described(definition: AppDefinition) -> None:
    """Whatever a definition holds, its problems are named, each with a remedy, and nothing is raised."""
    assert all(isinstance(problem, Problem) and problem.message for problem in find_problems(definition))


def test_sound_definition() -> None:
    """A definition that zero-cache accepts has no problems."""
    assert places(table()) == []


def test_problem_names_its_place() -> None:
    """A problem's text begins with the table, the column and the attribute."""
    assert str(Problem("type", "Choose.", table="city", column="name")) == "city.name.type: Choose."


@pytest.mark.parametrize("app_id", ["", "Shop", "my-shop", "a b", "ä", "a" * 49])
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


@pytest.mark.parametrize("collection", [MARKERS_COLLECTION, "zero_sources_", "zero_sources_x.y"])
def test_collection_of_ours(collection: str) -> None:
    """What this project keeps in a source is not published, under whichever name a table has, nor by its own."""
    assert places(table(collection=collection)) == [("city", "", "collection")]
    assert ("zero_sources_x", "", "collection") in places(table(name="zero_sources_x", server_name="", collection=""))
    assert places(table(collection=f"x{collection}")) == places(table(collection=collection.upper())) == []


@pytest.mark.parametrize("stage", ["$lookup", "$graphLookup", "$unionWith", "$out", "$merge"])
def test_mapping_reaches_no_other_collection(stage: str) -> None:
    """No stage of a mapping reads or writes another collection than the table's own."""
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
    """No name has a character that nobody sees or that UTF-8 cannot write, nor a space at an end; and no message has one."""
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
def test_other_names_of_collections(name: str) -> None:
    """Every other name that MongoDB takes may be published."""
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


@pytest.mark.parametrize("primary_key", [(), ("nope",), ("_id", "nope"), ("_id", "_id")])
def test_primary_key(primary_key: tuple[str, ...]) -> None:
    """The primary key names columns of the table, each once."""
    columns = (Column("_id", "string"), Column("name", "string"))
    assert places(table(columns=columns, primary_key=primary_key)) == [("city", "", "primary_key")]


@pytest.mark.parametrize(
    ("primary_key", "needs_pre_images"), [(("_id",), False), (("name",), True), (("_id", "name"), True)]
)
def test_key_of_other_fields(primary_key: tuple[str, ...], needs_pre_images: bool) -> None:
    """Any required columns can be the key; `_id` alone tells which row a deleted document had, others need pre-images."""
    keyed = table(columns=(Column("_id", "string"), Column("name", "string")), primary_key=primary_key)
    assert places(keyed) == []
    assert CompiledTable(keyed).needs_pre_images is needs_pre_images


def test_primary_key_is_required() -> None:
    """A column of the primary key is never null."""
    assert places(table(columns=(Column("_id", "string", optional=True),))) == [("city", "_id", "optional")]


def test_primary_key_is_scalar() -> None:
    """A json column identifies no row."""
    assert places(table(columns=(Column("_id", "json"),))) == [("city", "_id", "type")]


FILTERED = (Column("_id", "string"), Column("tenant", "string", optional=True), Column("tags", "json", optional=True))


@pytest.mark.parametrize(("filter_columns", "needs_pre_images"), [((), False), (("tenant",), True), (("_id",), True)])
def test_filter_columns(filter_columns: tuple[str, ...], needs_pre_images: bool) -> None:
    """Any columns with one plain value; which clients had a row before a change takes its pre-image."""
    filtered = table(columns=FILTERED, filter_columns=filter_columns)
    assert places(filtered) == []
    assert CompiledTable(filtered).needs_pre_images is needs_pre_images


@pytest.mark.parametrize(
    ("filter_columns", "message"),
    [
        (("nope",), "There is no column 'nope'."),
        (("tenant", "tenant"), "The column 'tenant' stands there twice."),
        (("tags",), "The column 'tags' is json"),
    ],
)
def test_bad_filter_columns(filter_columns: tuple[str, ...], message: str) -> None:
    """A column that is not there, twice there, or json is no filter column."""
    [problem] = find_problems(
        AppDefinition("shop", "default", (table(columns=FILTERED, filter_columns=filter_columns),))
    )
    assert (problem.table, problem.column, problem.attribute) == ("city", "", "filter_columns")
    assert problem.message.startswith(message)


def test_too_many_filter_columns() -> None:
    """Each costs room in the log with each change."""
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
        ((("size", "size"),), "The column 'size' stands twice in one index."),
        ((("size", "tags"),), "The column 'tags' is json"),
        ((("size", "tenant"), ("tenant",), ("size", "tenant")), "The index on size, tenant stands there twice."),
        ((("_id",),), "The primary key has an index already."),
    ],
)
def test_bad_indexes(indexes: tuple[tuple[str, ...], ...], message: str) -> None:
    """An index is of columns by which queries can look for rows, and there is no other one like it."""
    [problem] = find_problems(AppDefinition("shop", "default", (table(columns=INDEXED, indexes=indexes),)))
    assert (problem.table, problem.column, problem.attribute) == ("city", "", "indexes")
    assert problem.message.startswith(message)


def test_most_indexes() -> None:
    """So many indexes of so many columns, and no more."""
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
def test_publication(name: str) -> None:
    """A group of tables with a name that Zero would take."""
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
        ({"mobile": ["city", "city"]}, "mobile: The table 'city' stands there twice."),
        ({"": ["city"]}, ": A name is letters"),
        ({"_mobile": ["city"]}, "_mobile: A name is letters"),
        ({"a b": ["city"]}, "a b: A name is letters"),
        ({"a,b": ["city"]}, "a,b: A name is letters"),
        ({"ä": ["city"]}, "ä: A name is letters"),
        ({"a\n": ["city"]}, "a\\n: A name is letters"),
        ({"a" * 64: ["city"]}, f"{'a' * 63}…: Use at most 63 characters."),
    ],
)
def test_bad_publications(publications: Any, message: str) -> None:
    """What is wrong is said with the publication that has it."""
    [found] = publication_messages(publications)
    assert found.startswith(message)


def test_too_many_publications() -> None:
    """A zero-cache can ask for all that there are."""
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
def test_invalid_mapping(mapping: Any, beginning: str) -> None:
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
def test_text_that_is_no_mapping(text: str, message: str) -> None:
    """So is what is wrong with the text."""
    [problem] = find_problems(AppDefinition("shop", "default", (table(mapping=text),)))
    assert problem.attribute == "mapping"
    assert message in problem.message


def test_field_that_the_mapping_never_gives() -> None:
    """A required column of it could have no row."""
    assert places(mapped({"projection": {"size": 1}}, Column("name", "string"))) == [("city", "name", "field")]


def test_optional_column_that_the_mapping_never_gives() -> None:
    """An optional one is null for ever: that can be published, with a warning."""
    table = mapped({"projection": {"place.name": 1}}, Column("name", "string", optional=True))
    assert places(table) == []
    [warning] = find_warnings(table)
    assert str(warning).startswith("city.name.field: This column is always null.")


@pytest.mark.parametrize("mapping", [{}, {"filter": {"a": 1}}, {"projection": {"name": 1}}, {"projection": {"a": 0}}])
def test_no_warning(mapping: Any) -> None:
    """A field that the mapping may give is not warned of."""
    assert list(find_warnings(mapped(mapping, Column("name", "string", optional=True)))) == []


def test_no_warning_of_what_is_no_mapping() -> None:
    """That is a problem."""
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
def test_type_that_never_fits(expression: Any, column_type: str) -> None:
    """A column that no value of the mapping fits is refused at its type, whether it is required or not."""
    for optional in (False, True):
        column = Column("name", column_type, optional=optional)  # type: ignore[arg-type]
        assert places(mapped({"projection": {"name": expression}}, column)) == [("city", "name", "type")]


@pytest.mark.parametrize(
    ("expression", "column_type"), [({"$toUpper": "$a"}, "string"), ({"$toDate": "$a"}, "number"), ("$a", "boolean")]
)
def test_type_that_may_fit(expression: Any, column_type: str) -> None:
    """One that some value may fit is not."""
    assert places(mapped({"projection": {"name": expression}}, Column("name", column_type))) == []  # type: ignore[arg-type]


def test_null_in_a_required_column() -> None:
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
def test_computed_key(mapping: Any, needs_pre_images: bool) -> None:
    """A key can be computed; of `_id` alone and one row a document, it needs no pre-images."""
    keyed = mapped(mapping, Column("key", "string"), key=("key",))
    assert places(keyed) == []
    assert CompiledTable(keyed).needs_pre_images is needs_pre_images


@pytest.mark.parametrize("expression", ["$missing.x", {"$literal": 1}, {"$concat": ["a", "b"]}])
def test_key_that_is_the_same_for_all(expression: Any) -> None:
    """A key that depends on nothing of the document would make one row of all of them."""
    found = places(mapped({"projection": {"key": expression}}, Column("key", "string"), key=("key",)))
    assert found == ([] if expression == "$missing.x" else [("city", "", "primary_key")])


@pytest.mark.parametrize(
    ("table", "place"),
    [
        (
            Table("city", (ID,), ("_id",), mapping='{"filter": {"$or": [' + '{"a": 1},' * 300_000 + '{"a": 1}]}}'),
            "mapping",
        ),
        (
            Table("city", (ID,), ("_id",), permissions='{"select": [' + '{"_id": "1"},' * 200_000 + "{}]}"),
            "permissions",
        ),
        (Table("city", (ID, *(Column(f"c{i}", "string") for i in range(100_000))), ("_id",)), "name"),
    ],
    ids=["mapping", "permissions", "columns"],
)
def test_too_large(table: Table, place: str) -> None:
    """What is too large is refused at once, for nobody looks into it."""
    began = time.process_time()
    problems = find_problems(AppDefinition("shop", "default", (table,)))
    assert time.process_time() - began < 0.1
    assert [(problem.table, problem.attribute) for problem in problems] == [("city", place)]
    assert list(find_table_problems(table)) == problems


def test_too_many_tables() -> None:
    """So is an app of too many tables, or of too much text in all."""
    tables = tuple(Table(f"t{number}", (ID,), ("_id",)) for number in range(1_001))
    assert str(*find_problems(AppDefinition("shop", "default", tables))).startswith(
        "tables: An app has at most 1,000 tables"
    )
    text = '{"filter": {"a": "%s"}}' % ("x" * 40_000)
    tables = tuple(Table(f"t{number}", (ID,), ("_id",), mapping=text) for number in range(13))
    assert "500,000 characters" in str(*find_problems(AppDefinition("shop", "default", tables)))
    assert find_problems(AppDefinition("shop", "default", tables[:12])) == []
