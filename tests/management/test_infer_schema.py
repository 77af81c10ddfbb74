"""`infer_schema`, on a MongoDB server."""

import asyncio
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from django.core.management import CommandError, call_command
from pymongo import MongoClient
from pymongo.database import Database

from changesource.models import App
from tests.mongo.impatience import look_again_soon
from tests.mongo.undecodable import SPOILT, spoilt

pytestmark = pytest.mark.django_db


@pytest.fixture
def database(mongo_server, settings) -> Iterator[Database[dict[str, Any]]]:
    """A database of its own, which is the default source."""
    settings.CHANGESOURCE_SOURCES = {"default": mongo_server.uri(f"infer_{ObjectId()}")}
    with MongoClient(settings.CHANGESOURCE_SOURCES["default"]) as client:
        database = client.get_default_database()
        yield database
        client.drop_database(database.name)


def infer(*arguments: str) -> tuple[dict[str, Any], str]:
    """The schema on stdout, and what stands on stderr."""
    output, errors = StringIO(), StringIO()
    call_command("infer_schema", *arguments, stdout=output, stderr=errors, no_color=True)
    return json.loads(output.getvalue()), errors.getvalue()


def test_a_collection_of_documents_gives_a_table_of_its_name(database) -> None:
    database.city.insert_many([{"name": "Zürich", "size": 400_000}, {"name": "Bern", "tags": ["capital"]}])
    schema, _ = infer("city")
    assert schema["tables"]["city"] == {
        "name": "city",
        "columns": {
            "_id": {"type": "string", "optional": False},
            "name": {"type": "string", "optional": False},
            "size": {"type": "number", "optional": True},
            "tags": {"type": "json", "optional": True},
        },
        "primaryKey": ["_id"],
    }


def test_indexes_of_mongodb_are_proposed_up_to_the_first_field_that_is_no_plain_column(database) -> None:
    database.city.insert_one({"name": "Bern", "land": "CH", "tags": [], "at": {"x": 1}})
    for keys in (
        "name",
        [("land", 1), ("name", -1)],
        "land",
        "tags",
        [("name", 1), ("at.x", 1)],
        [("_id", 1), ("name", 1)],
    ):
        database.city.create_index(keys)
    database.city.create_index("land", name="some", partialFilterExpression={"name": "Bern"})
    schema, _ = infer("city")
    assert schema["tables"]["city"]["indexes"] == [["land", "name"], ["name"]]


async def test_a_value_that_cannot_be_decoded_only_makes_its_column_optional(database, mongo_server, settings) -> None:
    database.city.insert_many([{"_id": 1, "name": SPOILT, "size": 4}, {"_id": 2, "name": "Bern", "size": 5}])
    async with spoilt(mongo_server, database) as through_proxy:
        await through_proxy.command("ping")
        host, port = await through_proxy.client.address
        settings.CHANGESOURCE_SOURCES = {"default": f"mongodb://{host}:{port}/{database.name}?directConnection=true"}
        schema, warnings = await asyncio.to_thread(infer, "city")
    assert schema["tables"]["city"]["columns"] == {
        "_id": {"type": "number", "optional": False},
        "name": {"type": "string", "optional": True},
        "size": {"type": "number", "optional": False},
    }
    assert warnings == ""


def test_the_validator_of_an_empty_collection_is_enough(database) -> None:
    rules = {"required": ["name"], "properties": {"name": {"bsonType": "string"}}}
    database.create_collection("city", validator={"$jsonSchema": rules})
    schema, warnings = infer("city")
    assert schema["tables"]["city"]["columns"]["name"] == {"type": "string", "optional": False}
    assert "no documents" in warnings


def test_warnings_are_not_on_stdout(database) -> None:
    """Doubts stand on stderr, so that stdout can be redirected to a file."""
    database.city.insert_many([{"a": 1}, {"a": "x"}])
    _, warnings = infer("city")
    assert warnings == "a: string, because its values have several types (number, string).\n"


def test_output_can_be_loaded(database, tmp_path: Path) -> None:
    """What is proposed is what `load_schema` reads."""
    database.city.insert_one({"name": "Zürich"})
    schema, _ = infer("city")
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    call_command("load_schema", str(tmp_path / "schema.json"), app="shop")
    assert [column.name for column in App.objects.get().tables.get().columns.all()] == ["_id", "name"]


def test_no_more_documents_are_read_than_asked_for(database) -> None:
    database.city.insert_many([{f"field_{n}": n} for n in range(5)])
    schema, _ = infer("city", "--sample", "1")
    assert len(schema["tables"]["city"]["columns"]) == 2


def test_the_option_app_looks_in_the_source_of_the_app(database, settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"archive": settings.CHANGESOURCE_SOURCES["default"]}
    App.objects.create(app_id="shop", source="archive")
    database.city.insert_one({})
    schema, _ = infer("city", "--app", "shop")
    assert list(schema["tables"]) == ["city"]


def test_an_unknown_collection_is_refused(database) -> None:
    with pytest.raises(CommandError, match="no collection 'nope'"):
        infer("nope")


@pytest.mark.parametrize("name", ["", "a$b", ".a", "城市"])
def test_a_name_that_no_collection_can_have_is_refused(database, name: str) -> None:
    with pytest.raises(CommandError, match="no collection"):
        infer(name)


@pytest.mark.parametrize("name", ["\ud800", "a\u202eb", "a\nb", " city"])
def test_a_name_that_is_not_printable_is_refused(database, name: str) -> None:
    with pytest.raises(CommandError, match="printable"):
        infer(name)


def test_warnings_about_fields_are_printable_whatever_their_names_are(database) -> None:
    database.city.insert_one({"a\x1b[31mb": 1, "b\u202ec": 1, "d\ne": 1, "f": 1})
    schema, warnings = infer("city")
    assert list(schema["tables"]["city"]["columns"]) == ["_id", "f"]
    assert "a\\x1b[31mb: left out" in warnings
    assert all(line.isprintable() for line in warnings.splitlines())


def test_a_view_is_refused(database) -> None:
    """It has no change stream."""
    database.create_collection("city")
    database.command("create", "towns", viewOn="city", pipeline=[])
    with pytest.raises(CommandError, match="is a view"):
        infer("towns")


def test_an_unknown_app_is_refused(database) -> None:
    with pytest.raises(CommandError, match="There is no app"):
        infer("city", "--app", "nope")


def test_a_source_without_a_uri_is_refused(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {}
    with pytest.raises(CommandError, match="MONGODB_URI"):
        infer("city")


@pytest.mark.parametrize("uri", ["mongodb://me:sec/secret@localhost", "mongodb://me:secret@localhost"])
def test_a_wrong_uri_or_one_without_a_database_is_refused(settings, uri: str) -> None:
    """The error does not show the password."""
    settings.CHANGESOURCE_SOURCES = {"default": uri}
    with pytest.raises(CommandError, match=r"manage\.py check") as refusal:
        infer("city")
    assert "secret" not in str(refusal.value)


def test_an_unreachable_source_is_reported_without_the_password(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("changesource.management.commands.infer_schema.SERVER_SELECTION_TIMEOUT_MS", 100)
    look_again_soon(monkeypatch)
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://me:secret@127.0.0.1:1/shop"}
    with pytest.raises(CommandError, match="CS103") as refusal:
        infer("city")
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("sample", ["0", "-1", "x", "1.5", "9" * 20, "9" * 5_000])
def test_a_bad_sample_size_is_refused(sample: str) -> None:
    """It is a number of documents, one or more."""
    with pytest.raises(CommandError, match="--sample"):
        infer("city", f"--sample={sample}")
