"""Whole schemas into drafts."""

from dataclasses import replace

import pytest

from changesource.errors import InvalidDefinition
from changesource.models import App
from changesource.models.draft import draft_definition
from changesource.publishing.drafts import replace_draft, replace_draft_by_version
from changesource.publishing.release import PreImages
from changesource.publishing.schema_file import Schema
from changesource.tables.definition import Column, Table
from tests.models.builders import build_app, publish

pytestmark = pytest.mark.django_db

COUNTRY = Table(
    "country",
    (Column("id", "string", server_name="_id"), Column("name", "string", optional=True, field="title")),
    ("id",),
    server_name="countries",
    collection="lands",
    mapping='{"filter":{"b":1,"a":2}}',
)
SCHEMA = Schema((COUNTRY,), {"country": {}})


def test_a_missing_app_is_created() -> None:
    """An app that is missing is created, on the default source."""
    app = replace_draft("shop", SCHEMA)
    assert App.objects.get() == app
    assert (app.app_id, app.source) == ("shop", "default")


def test_nothing_of_a_schema_is_lost() -> None:
    """The draft says what the schema says."""
    definition = draft_definition(replace_draft("shop", SCHEMA))
    assert (definition.tables, definition.relationships) == ((COUNTRY,), {"country": {}})


def test_defaults_stay_empty() -> None:
    """Names that are defaults are stored empty, so that they follow when the name is edited."""
    table = replace_draft("shop", Schema((Table("city", (Column("_id", "string"),), ("_id",)),), {})).tables.get()
    column = table.columns.get()
    assert (table.server_name, table.collection, table.mapping) == ("", "", "")
    assert (column.server_name, column.field) == ("", "")


def test_the_whole_draft_is_replaced() -> None:
    """Tables that the schema lacks are gone, and no others are touched."""
    build_app()
    build_app("other")
    replace_draft("shop", SCHEMA)
    assert [table.name for table in App.objects.get(app_id="shop").tables.all()] == ["country"]
    assert [table.name for table in App.objects.get(app_id="other").tables.all()] == ["city"]


def test_an_app_keeps_its_source() -> None:
    """An app keeps its source unless another is given."""
    build_app(source="archive")
    assert replace_draft("shop", SCHEMA).source == "archive"
    assert replace_draft("shop", SCHEMA, "default").source == "default"


def test_problems_change_nothing() -> None:
    """A schema that could not be published is refused whole, with each problem."""
    build_app()
    bad = Schema((COUNTRY, Table("my city", (Column("id", "string"),), ("_id",))), {})
    with pytest.raises(InvalidDefinition) as refusal:
        replace_draft("shop", bad)
    assert "my city.name: " in str(refusal.value)
    assert "my city.primary_key: " in str(refusal.value)
    assert [table.name for table in App.objects.get().tables.all()] == ["city"]


@pytest.mark.parametrize("app_id", ["", "My Shop", "shop\n", "x" * 64, "\ud800", "ä"])
def test_a_bad_app_id_is_refused(app_id: str) -> None:
    """An app id that Zero refuses, or that could not be stored, creates nothing."""
    with pytest.raises(InvalidDefinition, match="app_id"):
        replace_draft(app_id, SCHEMA)
    assert not App.objects.exists()


@pytest.mark.parametrize("source", ["My-Source", "x" * 64, "\ud800"])
def test_a_bad_source_is_refused(source: str) -> None:
    """So does a name that no source can have."""
    with pytest.raises(InvalidDefinition, match="source"):
        replace_draft("shop", SCHEMA, source)
    assert not App.objects.exists()


CITY = Table("city", (Column("_id", "string"), Column("name", "json", optional=True)), ("_id",))
LOADED = Schema((CITY,), {})


@pytest.fixture
def filtered() -> App:
    """An app with filter columns and a publication."""
    app = build_app()
    app.publications = {"mobile": ["city"]}
    app.save()
    app.tables.update(filter_columns=["_id", "name"])
    return app


def test_filter_columns_stay_if_no_file_mentions_them(filtered: App) -> None:
    """The draft keeps its own, as far as they are still columns that can be some."""
    assert draft_definition(replace_draft("shop", LOADED)).tables[0].filter_columns == ("_id",)


def test_filter_columns_of_a_file_replace_those_of_the_draft(filtered: App) -> None:
    """They take the place of the draft's; so does saying that there are none."""
    said = replace(CITY, filter_columns=("_id",))
    assert draft_definition(replace_draft("shop", Schema((said,), {}))).tables == (said,)
    without = Schema((CITY,), {}, without_filter_columns=frozenset({"city"}))
    assert draft_definition(replace_draft("shop", without)).tables == (CITY,)


def test_indexes_stay_if_no_file_mentions_them() -> None:
    """Files that say nothing of them leave those that can still be; others take their place, and so does saying none."""
    city = replace(CITY, columns=(Column("_id", "string"), Column("name", "string"), Column("size", "number")))
    indexes = (("size", "name"), ("size",), ("_id", "name"))

    def loaded(table: Table, **said: frozenset[str]) -> Table:
        [found] = draft_definition(replace_draft("shop", Schema((table,), {}, **said))).tables
        return found

    assert loaded(replace(city, indexes=indexes)).indexes == indexes
    assert loaded(city).indexes == indexes
    assert loaded(replace(city, primary_key=("_id", "name"))).indexes == indexes[:2]
    assert loaded(replace(city, columns=(city.columns[0], *city.columns[2:]))).indexes == (("size",),)
    assert loaded(replace(city, indexes=(("name",),))).indexes == (("name",),)
    assert loaded(city, without_indexes=frozenset({"city"})).indexes == ()


def test_publications_stay_if_no_file_mentions_them(filtered: App) -> None:
    """The draft keeps its own; where they do not fit the new tables, nothing changes."""
    assert replace_draft("shop", LOADED).publications == {"mobile": ["city"]}
    with pytest.raises(InvalidDefinition, match="publications: mobile: There is no table 'city'"):
        replace_draft("shop", SCHEMA)
    assert filtered.tables.get().name == "city"


@pytest.mark.parametrize("publications", [{}, {"web": ["city"]}])
def test_publications_of_a_file_replace_those_of_the_app(filtered: App, publications: dict[str, list[str]]) -> None:
    """They take the place of the draft's."""
    assert replace_draft("shop", replace(LOADED, publications=publications)).publications == publications


def test_an_old_version_replaces_the_draft(filtered: App, settings) -> None:
    """Filter columns, indexes and publications are those of the version, also where it has none."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}
    filtered.tables.update(filter_columns=["_id"], indexes=[["name"]])
    filtered.refresh_from_db()
    recorded = PreImages("default", frozenset({"city"}))
    first = publish(filtered, recorded=recorded)
    App.objects.update(publications={})
    filtered.tables.update(filter_columns=[], indexes=[])
    second = publish(App.objects.get())
    for version in (first, second):
        replace_draft_by_version(version)
        assert draft_definition(App.objects.get()) == version.to_definition()
