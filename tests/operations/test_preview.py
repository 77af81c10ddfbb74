"""preview.py: what the draft of a table makes of the first documents."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from bson import DatetimeMS, Int64, ObjectId

from changesource.errors import InvalidDefinition, SourceUnreachable
from changesource.models import App, Version
from changesource.operations.preview import preview_page, preview_table
from changesource.trials import process
from tests.models.builders import build_app, build_table
from tests.simulation.sources import ITEMS, PlainDatabase, default_source
from zerosources.embedded.ports import free_port
from zerosources.embedded.servers import MongoServer

pytestmark = pytest.mark.django_db


@pytest.fixture
def database(mongo_server: MongoServer, settings: Any) -> Iterator[PlainDatabase]:
    with default_source(mongo_server, settings) as found:
        yield found


def build_items(app: App) -> None:
    build_table(app, "item", {"sku": {}, "order": {}}, collection="orders", mapping=ITEMS, primary_key=["order", "sku"])


def test_rows_beside_their_documents(database: PlainDatabase) -> None:
    """Each document with the rows that it gives: one, several, or none; nothing is published for it."""
    app = build_app()
    build_items(app)
    database.orders.insert_many([{"_id": 2, "items": [{"sku": "a"}, {"sku": "b"}]}, {"_id": 1}])
    assert [(preview["document"]["_id"], preview["rows"]) for preview in preview_table(app, "item", 10)] == [
        (1, []),
        (2, [{"sku": "a", "order": "2"}, {"sku": "b", "order": "2"}]),
    ]
    assert not Version.objects.exists()


def test_the_first_documents_by_id_are_shown(database: PlainDatabase) -> None:
    """No more than the limit, whatever the types of `_id`."""
    identities = ["x", 5, ObjectId(), 1]
    database.city.insert_many([{"_id": identity} for identity in identities])
    shown = [preview["document"]["_id"] for preview in preview_table(build_app(), "city", 3)]
    assert shown == [1, 5, "x"]


def test_row_errors_are_shown(database: PlainDatabase) -> None:
    """What does not fit is said as in the stream, for a column and for the mapping."""
    app = build_app()
    mapping = '{"projection": {"size": 1, "code": {"$toInt": "$code"}}}'
    columns = {"_id": {}, "size": {"type": "number", "optional": True}, "code": {"type": "number", "optional": True}}
    build_table(app, "place", columns, mapping=mapping)
    database.place.insert_many([{"_id": 1, "size": "large", "code": "7"}, {"_id": 2, "code": "x"}])
    one, two = preview_table(app, "place", 10)
    assert one["rows"] == [{"_id": "1", "size": None, "code": 7}]
    assert [(error["column"], error["documentId"]) for error in one["errors"]] == [("size", "1")]
    assert two["rows"] == []
    [error] = two["errors"]
    assert (error["table"], error["column"]) == ("place", "")
    assert error["reason"].startswith("projection.code: ")


def test_a_preview_can_be_written_as_json(database: PlainDatabase) -> None:
    """The document in relaxed Extended JSON; what json columns hold as values; text that looks like JSON stays text."""
    app = build_app()
    columns = {"_id": {}, "tags": {"type": "json", "optional": True}, "note": {"optional": True}}
    table = build_table(app, "post", {**columns, "at": {"type": "number"}}, server_name="posts", collection="post")
    at = DatetimeMS(1_714_566_600_123)
    database.post.insert_one({"_id": 1, "tags": [{"a": Int64(2**60)}, None], "note": "[1]", "at": at, "n": Int64(7)})
    assert preview_table(app, table.server_name, 1) == [
        {
            "document": {
                "_id": 1,
                "tags": [{"a": 2**60}, None],
                "note": "[1]",
                "at": {"$date": "2024-05-01T12:30:00.123Z"},
                "n": 7,
            },
            "rows": [{"_id": "1", "tags": [{"a": str(2**60)}, None], "note": "[1]", "at": 1_714_566_600_123}],
            "errors": [],
        }
    ]


def test_an_unknown_table_is_refused(database: PlainDatabase) -> None:
    """A table that the draft does not have is refused with those that it has."""
    with pytest.raises(InvalidDefinition, match=r"'town'.*city"):
        preview_table(build_app(), "town", 1)


def test_an_invalid_draft_is_refused(database: PlainDatabase) -> None:
    """A draft with problems is refused with each of them."""
    app = build_app()
    app.tables.update(mapping='{"filter": 1}')
    build_table(app, "my table", {"_id": {}})
    with pytest.raises(InvalidDefinition) as refused:
        preview_table(app, "city", 1)
    assert "city.mapping: filter: " in str(refused.value)
    assert "my table.name: " in str(refused.value)


def test_an_unreachable_source_is_reported(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is away is said to be."""
    monkeypatch.setattr(process, "MODULE", "tests.trials.impatient")
    uri = f"mongodb://127.0.0.1:{free_port()}/shop"
    settings.CHANGESOURCE_SOURCES = {"default": uri}
    with pytest.raises(SourceUnreachable):
        preview_table(build_app(), "city", 1)


def test_large_documents_are_previewed(database: PlainDatabase) -> None:
    """Of documents near 16 MB a page shows what a person can read; all of them together take one process little memory."""
    app = build_app()
    tag = "x" * 1_000
    mapping = '{"pipeline": [{"$unwind": "$tags"}, {"$project": {"_id": 0, "tag": "$tags", "place": "$_id"}}]}'
    columns = {"tag": {"optional": True}, "place": {}}
    build_table(app, "tag", columns, collection="place", mapping=mapping, primary_key=["place"])
    for identity in range(10):
        database.place.insert_one({"_id": identity, "tags": [f"{number}{tag}" for number in range(15_000)]})
    answer = preview_page(app, "tag", 10)
    assert len(answer.items) == 10
    assert len(json.dumps(answer.items)) < 2**20
    for item in answer.items:
        assert len(item["rows"]) + item["more_rows"] + len(item["errors"]) + item["more_errors"] == 15_000


def test_a_full_page_says_that_there_is_more(database: PlainDatabase) -> None:
    """A page that is full says that there is more."""
    app = build_app()
    names = [f"c{number}" for number in range(300)]
    build_table(app, "wide", {"_id": {}} | {name: {"optional": True} for name in names})
    database.wide.insert_many([dict.fromkeys(names, "y" * 5_000) | {"_id": number} for number in range(100)])
    answer = preview_page(app, "wide", 100)
    assert answer.is_cut
    assert 10 < len(answer.items) < 100


def test_documents_are_not_logged(database: PlainDatabase, caplog: pytest.LogCaptureFixture) -> None:
    """What documents hold is for the caller only."""
    database.city.insert_one({"_id": "secret", "name": {"a": "secret"}})
    with caplog.at_level(logging.INFO):
        preview_table(build_app(), "city", 1)
    assert "secret" not in caplog.text
