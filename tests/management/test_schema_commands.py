"""`load_schema` and `publish`."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from changesource.models import App, Client, Version
from changesource.publishing.drafts import replace_draft
from changesource.publishing.release import PreImages
from changesource.publishing.schema_file import Schema
from changesource.publishing.versions import begin_publish
from changesource.tables.definition import Column, Table
from tests.models.builders import build_app, set_grant
from tests.mongo.impatience import do_not_wait
from tests.simulation.sources import ITEMS, PlainDatabase, records_pre_images, refused
from zerosources.embedded.servers import MongoServer

pytestmark = pytest.mark.django_db

SCHEMA: dict[str, Any] = {
    "tables": {"city": {"name": "city", "columns": {"_id": {"type": "string"}}, "primaryKey": ["_id"]}},
    "relationships": {},
}


@pytest.fixture(autouse=True)
def default_source(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is away, for which a test does not wait."""
    do_not_wait(monkeypatch)
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(SCHEMA))
    return path


def run(*arguments: object) -> str:
    """What the command writes to stdout."""
    output = StringIO()
    call_command(*map(str, arguments), stdout=output)
    return output.getvalue()


def test_a_loaded_file_becomes_the_draft_of_an_app(file: Path) -> None:
    """Nothing is published."""
    run("load_schema", file, "--app", "shop")
    assert [table.name for table in App.objects.get(app_id="shop").tables.all()] == ["city"]
    assert not Version.objects.exists()


def test_load_sets_the_source_of_the_app(file: Path) -> None:
    run("load_schema", file, "--app", "shop", "--source", "archive")
    assert App.objects.get().source == "archive"


def test_load_with_publish_prints_the_version_number(file: Path) -> None:
    """As `publish` does."""
    assert run("load_schema", file, "--app", "shop", "--publish") == "1\n"
    assert run("publish", "shop") == "1\n"


def test_mappings_of_a_file_are_loaded(file: Path, tmp_path: Path) -> None:
    """A file that holds anything else is refused, and changes nothing."""
    mappings = tmp_path / "mappings.json"
    mappings.write_text('{"city": {"source": "places"}}')
    run("load_schema", file, "--mappings", mappings, "--app", "shop", "--publish")
    assert Version.objects.get().to_definition().tables[0].collection == "places"
    mappings.write_text('{"city": {"source": "places", "filter": {"big": {"$near": 1}}}}')
    with pytest.raises(CommandError, match=r"mappings\.city\.filter\.big\.\$near"):
        run("load_schema", file, "--mappings", mappings, "--app", "shop", "--publish")
    with pytest.raises(CommandError, match=r"none\.json cannot be read"):
        run("load_schema", file, "--mappings", tmp_path / "none.json", "--app", "shop")
    assert Version.objects.count() == 1


def test_a_loaded_filter_is_part_of_what_is_published(file: Path, tmp_path: Path) -> None:
    mappings = tmp_path / "mappings.json"
    mappings.write_text('{"city": {"source": "places", "filter": {"b": 1, "a": {"$oid": "507f1f77bcf86cd799439011"}}}}')
    run("load_schema", file, "--mappings", mappings, "--app", "shop", "--publish")
    [table] = Version.objects.get().to_definition().tables
    assert (table.collection, table.mapping) == (
        "places",
        '{"filter":{"b":1,"a":{"$oid":"507f1f77bcf86cd799439011"}}}',
    )


def test_a_column_that_is_always_null_is_loaded_with_a_warning(tmp_path: Path) -> None:
    """The warning is on stderr."""
    columns = {"_id": {"type": "string"}, "name": {"type": "string", "optional": True}}
    mapping = json.dumps({"source": "places", "projection": {"_id": 1, "names.en": 1}})
    table = {"columns": columns, "primaryKey": ["_id"], "serverName": mapping}
    (tmp_path / "schema.json").write_text(json.dumps({"tables": {"city": table}}))
    errors = StringIO()
    call_command("load_schema", str(tmp_path / "schema.json"), "--app", "shop", stderr=errors, no_color=True)
    assert errors.getvalue().startswith("city.name.field: This column is always null.")


def items_schema(file: Path) -> None:
    """A schema whose table needs pre-images of `orders`."""
    columns = {"sku": {"type": "string"}, "order": {"type": "string"}}
    mapping = json.dumps({"source": "orders", **json.loads(ITEMS)})
    table = {"columns": columns, "primaryKey": ["order", "sku"], "serverName": mapping}
    file.write_text(json.dumps({"tables": {"item": table}}))


def test_both_commands_enable_the_pre_images_that_the_tables_need(
    mongo_server: MongoServer, source_database: PlainDatabase, file: Path
) -> None:
    """Where that is refused, nothing has changed, not even the draft."""
    items_schema(file)
    source_database.create_collection("orders")
    with refused(mongo_server, "collMod", code=13), pytest.raises(CommandError, match=r"CS102.*collMod"):
        run("load_schema", file, "--app", "shop", "--publish")
    assert not App.objects.exists()
    assert run("load_schema", file, "--app", "shop", "--publish") == "1\n"
    assert records_pre_images(source_database, "orders")
    source_database.drop_collection("orders")
    assert run("publish", "shop") == "1\n"
    assert records_pre_images(source_database, "orders")


def test_both_commands_look_at_collections(
    source_database: PlainDatabase, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both commands say on stderr that there is no such collection yet; a view is refused, and the draft stays as it is."""
    assert run("load_schema", file, "--app", "shop", "--publish") == "1\n"
    assert "city.collection: There is no collection 'city'" in capsys.readouterr().err
    assert run("publish", "shop") == "1\n"
    assert "city.collection: There is no collection 'city'" in capsys.readouterr().err
    source_database.create_collection("city", viewOn="town", pipeline=[])
    with pytest.raises(CommandError, match="is a view"):
        run("load_schema", file, "--app", "other", "--publish")
    assert not App.objects.filter(app_id="other").exists()
    with pytest.raises(CommandError, match=r"CS201.*\n.*is a view"):
        run("publish", "shop", "--reset")
    source_database.drop_collection("city")


def test_permissions_of_a_file_are_loaded(file: Path, tmp_path: Path) -> None:
    """A rule that cannot be published is refused, and changes nothing."""
    permissions = tmp_path / "permissions.json"
    permissions.write_text('{"city": {"select": [{"_id": "$auth.sub"}]}}')
    run("load_schema", file, "--permissions", permissions, "--app", "shop", "--publish")
    assert Version.objects.get().to_definition().tables[0].permissions == '{"select":[{"_id":"$auth.sub"}]}'
    for text, place in [
        ('{"city": {"select": [{"nope": 1}]}}', r"city\.permissions: select\[0\]\.nope"),
        ('{"town": {}}', r"permissions\.town"),
        ('{"city": []}', r"permissions\.city"),
        ("[]", "permissions: Write a JSON object"),
        ('{"version": 2, "permissions": {}}', "permissions files of version 1"),
    ]:
        permissions.write_text(text)
        with pytest.raises(CommandError, match=place):
            run("load_schema", file, "--permissions", permissions, "--app", "shop", "--publish")
    assert Version.objects.count() == 1


def test_a_changed_file_is_the_next_version(source_database: PlainDatabase, file: Path) -> None:
    run("load_schema", file, "--app", "shop", "--publish")
    file.write_text(json.dumps({**SCHEMA, "relationships": {"city": {}}}))
    assert run("load_schema", file, "--app", "shop", "--publish") == "2\n"


def test_a_refused_publish_changes_nothing(file: Path) -> None:
    """A draft that cannot be published is not loaded either, when it was to be published."""
    with pytest.raises(CommandError, match="MONGODB_URI_ARCHIVE"):
        run("load_schema", file, "--app", "shop", "--source", "archive", "--publish")
    assert not App.objects.exists()


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run("load_schema", tmp_path / "nope.json", "--app", "shop")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read: Is a directory"):
        run("load_schema", tmp_path, "--app", "shop")


def test_a_file_that_is_not_a_schema_is_refused_with_the_place(file: Path) -> None:
    file.write_text('{"tables": {"city": 1}}')
    with pytest.raises(CommandError, match=r"CS202: tables\.city: "):
        run("load_schema", file, "--app", "shop")


def test_a_schema_that_zero_would_refuse_is_refused_with_the_place(file: Path) -> None:
    file.write_text(json.dumps(SCHEMA).replace("city", "my city"))
    with pytest.raises(CommandError, match=r"my city\.name: "):
        run("load_schema", file, "--app", "shop")


def test_publish_prints_the_version_number_alone_on_the_line() -> None:
    build_app()
    assert run("publish", "shop") == "1\n"


@pytest.mark.parametrize("app_id", ["nope", "", "\ud800", "a\0b"])
def test_an_unknown_app_is_not_published(app_id: str) -> None:
    """Whatever it is called."""
    with pytest.raises(CommandError, match="There is no app"):
        run("publish", app_id)


def test_an_empty_app_is_not_published() -> None:
    """The error says why."""
    App.objects.create(app_id="shop")
    with pytest.raises(CommandError, match=r"CS201: .*\ntables: Add at least one table"):
        run("publish", "shop")


def test_publications_of_a_file_are_loaded(file: Path, tmp_path: Path) -> None:
    """Another load without them keeps them."""
    publications = tmp_path / "publications.json"
    publications.write_text('{"mobile": ["city"]}')
    run("load_schema", file, "--publications", publications, "--app", "shop", "--publish")
    run("load_schema", file, "--app", "shop", "--publish")
    assert Version.objects.get().to_definition().publications == {"mobile": ["city"]}
    for text, place in [
        ('{"mobile": ["town"]}', r"publications: mobile: There is no table 'town'"),
        ("[]", "publications: Write a JSON object"),
    ]:
        publications.write_text(text)
        with pytest.raises(CommandError, match=place):
            run("load_schema", file, "--publications", publications, "--app", "shop")
    assert App.objects.get().publications == {"mobile": ["city"]}


def test_named_queries_of_a_file_are_loaded(file: Path, tmp_path: Path) -> None:
    """And kept by a schema that says nothing about them."""
    queries = tmp_path / "queries.json"
    queries.write_text('{"version": 1, "queries": {"cities.all": {"table": "city"}}}')
    run("load_schema", file, "--queries", queries, "--app", "shop", "--publish")
    run("load_schema", file, "--app", "shop", "--publish")
    assert Version.objects.newest(App.objects.get()).to_definition().queries == {"cities.all": {"table": "city"}}
    for text, message in (
        ('{"all": {"table": "town"}}', r"queries: all.table: There is no table 'town'"),
        ("[]", "queries: Write a JSON object"),
    ):
        queries.write_text(text)
        with pytest.raises(CommandError, match=message):
            run("load_schema", file, "--queries", queries, "--app", "shop")
    assert App.objects.get().queries == {"cities.all": {"table": "city"}}


def test_filter_columns_beside_the_mapping_are_loaded(
    source_database: PlainDatabase, file: Path, tmp_path: Path
) -> None:
    """Publishing them enables pre-images, and another load keeps them."""
    mappings = tmp_path / "mappings.json"
    mappings.write_text('{"city": {"source": "places", "filterColumns": ["_id"]}}')
    assert run("load_schema", file, "--mappings", mappings, "--app", "shop", "--publish") == "1\n"
    assert Version.objects.get().to_definition().tables[0].filter_columns == ("_id",)
    assert records_pre_images(source_database, "places")
    run("load_schema", file, "--app", "shop")
    assert App.objects.get().tables.get().filter_columns == ["_id"]
    mappings.write_text('{"city": {"source": "places", "filterColumns": ["nope"]}}')
    with pytest.raises(CommandError, match=r"city\.filter_columns: There is no column 'nope'"):
        run("load_schema", file, "--mappings", mappings, "--app", "shop")


def test_publish_says_which_clients_do_not_see_a_table(
    source_database: PlainDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr, beside the number of the version; nothing where nothing was published."""
    source_database.create_collection("city")
    app = build_app()
    set_grant(Client.objects.create_for_apps("acme", [app]), row_filters='{"river": {}}')
    assert run("publish", "shop") == "1\n"
    assert (
        "Client acme: It will not see everything that is new. It has row filters, and none for 'city'."
        in capsys.readouterr().err
    )
    assert run("publish", "shop") == "1\n"
    assert capsys.readouterr().err == ""


def test_a_publish_that_would_cut_a_client_off_is_refused(file: Path, tmp_path: Path) -> None:
    """The error names the client. The draft stays, so that it can be mended."""
    city = Table("city", (Column("_id", "string"),), ("_id",), filter_columns=("_id",))
    app = replace_draft("shop", Schema((city,), {}))
    version = begin_publish(app, recorded=PreImages("default", frozenset({"city"})))
    set_grant(Client.objects.create_for_apps("acme", [app]), row_filters='{"city": {"_id": "$client.city"}}')
    app.tables.update(filter_columns=[])
    with pytest.raises(CommandError, match=r"CS201: .*\nClient acme: .*'city'"):
        run("publish", "shop")
    assert App.objects.get().versions.get() == version
