"""sample.py: the sample data fits its schema, and its changes are what they say."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from zerosources.embedded import sample
from zerosources.embedded.servers import MongoServer

Client = pymongo.MongoClient[dict[str, Any]]

JSON_TYPES: dict[str, tuple[type, ...]] = {"string": (str,), "number": (int, float), "json": (dict, list)}


@pytest.fixture
def uri(mongo_server: MongoServer) -> Iterator[str]:
    """A database of its own, dropped afterwards."""
    yield mongo_server.uri("embedded_sample")
    with Client(mongo_server.url) as client:
        client.drop_database("embedded_sample")


def test_load(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading adds what is missing and leaves the rest as it is."""
    monkeypatch.setattr(sample, "cities", lambda: [{"_id": 1, "name": "one"}, {"_id": 2, "name": "two"}])
    with Client(uri) as client:
        cities = client.get_default_database()["cities"]
        cities.insert_one({"_id": 1, "name": "changed"})
        assert sample.load(uri) == 252 + 1
        assert sample.load(uri) == 0
        assert list(cities.find(sort={"_id": 1})) == [{"_id": 1, "name": "changed"}, {"_id": 2, "name": "two"}]


def test_size() -> None:
    """There are all countries and some 34,000 cities, each once."""
    assert len({country["_id"] for country in sample.countries()}) == 252
    assert 30_000 < len({city["_id"] for city in sample.cities()}) < 40_000


@pytest.mark.parametrize(("table", "documents"), [("country", sample.countries), ("city", sample.cities)])
def test_documents_fit_the_schema(table: str, documents: Any) -> None:
    """Each value is of its column's type, and only optional columns may lack one."""
    columns = json.loads(sample.SCHEMA_PATH.read_text())["tables"][table]["columns"]
    fields = {column.get("serverName", name): column for name, column in columns.items()}
    for document in documents():
        assert document.keys() <= fields.keys()
        for name, column in fields.items():
            if name in document:
                assert isinstance(document[name], JSON_TYPES[column["type"]]), (document["_id"], name)
            else:
                assert column["optional"], (document["_id"], name)


def test_changes(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single changes, and transactions over a city and its country."""
    monkeypatch.setattr(
        sample, "cities", lambda: [{"_id": city, "country": "FR", "population": 1} for city in range(9)]
    )
    sample.load(uri)
    stop = threading.Event()
    thread = threading.Thread(target=sample.change_something, args=(uri, stop), kwargs={"pause_seconds": 0.01})
    with Client(uri) as client, client.get_default_database().watch() as stream:
        thread.start()
        changes = [next(stream) for _ in range(3 * 4 + 2)]
        stop.set()
        thread.join()
    alone, together = changes[:12], changes[12:]
    assert {change["ns"]["coll"] for change in alone} == {"cities"}
    assert not any("txnNumber" in change for change in alone)
    assert [change["ns"]["coll"] for change in together] == ["cities", "countries"]
    assert together[0]["txnNumber"] == together[1]["txnNumber"]


def test_changes_without_a_server() -> None:
    """A database that does not answer does not end the changes."""
    stop = threading.Event()
    with pymongo.timeout(0.1):
        thread = threading.Timer(0.5, stop.set)
        thread.start()
        sample.change_something("mongodb://127.0.0.1:1/sample", stop, pause_seconds=0.01)
    assert stop.is_set()
