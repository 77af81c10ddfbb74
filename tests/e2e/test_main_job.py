"""Documents from MongoDB, live in a real zero-cache."""

import json
import uuid
from datetime import UTC, datetime

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import check_protocol
from zerosources.embedded import sample
from zerosources.embedded.sample import SCHEMA_PATH

pytestmark = pytest.mark.timeout(300)

VALUES = {
    "object_id": ObjectId("507f1f77bcf86cd799439011"),
    "uuid": Binary.from_uuid(uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")),
    "broken_uuid": Binary(b"abc", 4),
    "date": datetime(2024, 5, 1, 12, 30, 0, 123000, tzinfo=UTC),
    "int32": 5,
    "int64": Int64(2**53 - 1),
    "long": Int64(2**60 + 1),
    "double": 1.5,
    "whole_double": 5.0,
    "large_double": 2.0**62,
    "huge_double": 1.5e20,
    "giant_double": 1e300,
    "nan": float("nan"),
    "infinity": float("inf"),
    "decimal": Decimal128("12345678901234567890.12345"),
    "binary": Binary(b"\x00\x01\xff", 0),
    "regex": Regex("^a.*b$", "im"),
    "timestamp": Timestamp(1714521600, 7),
    "min_key": MinKey(),
    "max_key": MaxKey(),
    "code": Code("function () {}"),
    "true": True,
    "null": None,
    "text": "Zoë 日本 🦓 \u0000 end",
    "document": {"a": {"b": [1, Int64(2**60), Decimal128("1.10"), ObjectId("507f1f77bcf86cd799439011")]}},
    "array": [1, "two", None, True, datetime(2024, 5, 1, tzinfo=UTC)],
    "reference": DBRef("other", 5),
}
AS_STRING = {
    "object_id": "507f1f77bcf86cd799439011",
    "uuid": "00112233-4455-6677-8899-aabbccddeeff",
    "broken_uuid": "YWJj",
    "date": "2024-05-01T12:30:00.123Z",
    "int32": "5",
    "int64": "9007199254740991",
    "long": "1152921504606846977",
    "double": "1.5",
    "whole_double": "5",
    "large_double": "4611686018427388000",
    "huge_double": "150000000000000000000",
    "giant_double": "1e+300",
    "nan": None,
    "infinity": None,
    "decimal": "12345678901234567890.12345",
    "binary": "AAH/",
    "regex": "/^a.*b$/im",
    "timestamp": "1714521600:7",
    "min_key": "MinKey",
    "max_key": "MaxKey",
    "code": "function () {}",
    "true": "true",
    "null": None,
    "text": "Zoë 日本 🦓 \ufffd end",
    "document": '{"a":{"b":[1,"1152921504606846976","1.10","507f1f77bcf86cd799439011"]}}',
    "array": '[1,"two",null,true,1714521600000]',
    "reference": '{"$ref":"other","$id":5}',
}
AS_NUMBER = {
    "date": 1714566600123,
    "int32": 5,
    "int64": 9007199254740991,
    "double": 1.5,
    "whole_double": 5.0,
    "large_double": 2.0**62,
    "giant_double": 1e300,
    "timestamp": 1714521600000,
}
AS_JSON = {
    "date": 1714566600123,
    "int32": 5,
    "int64": 9007199254740991,
    "double": 1.5,
    "whole_double": 5,
    "large_double": 2.0**62,
    "huge_double": 1.5e20,
    "giant_double": 1e300,
    "true": True,
    "document": {"a": {"b": [1, "1152921504606846976", "1.10", "507f1f77bcf86cd799439011"]}},
    "text": "Zoë 日本 🦓 \u0000 end",
    "array": [1, "two", None, True, 1714521600000],
    "reference": {"$ref": "other", "$id": 5},
}
ZOO = {
    "tables": {
        "zoo": {
            "name": "zoo",
            "columns": {
                "_id": {"type": "string"},
                "as_string": {"type": "string", "optional": True},
                "as_number": {"type": "number", "optional": True},
                "as_boolean": {"type": "boolean", "optional": True},
                "as_json": {"type": "json", "optional": True},
                "missing": {"type": "string", "optional": True},
            },
            "primaryKey": ["_id"],
        }
    },
    "relationships": {},
}


def zoo_row(name: str) -> dict[str, object]:
    """The row of the document that has `VALUES[name]` in every column."""
    text = AS_STRING[name]
    return {
        "_id": name,
        "as_string": text,
        "as_number": AS_NUMBER.get(name),
        "as_boolean": 1 if name == "true" else None,
        "as_json": AS_JSON.get(name, text),
        "missing": None,
    }


def test_every_bson_type_arrives_by_snapshot_and_live(deploy: Deploy, log: str) -> None:
    """The replica holds for each BSON type what the rules say, whether it came with the snapshot or later."""
    deployment = deploy(ZOO, log=log)

    def document(name: str) -> dict[str, object]:
        value = VALUES[name]
        return {"_id": name, "as_string": value, "as_number": value, "as_boolean": value, "as_json": value}

    names = list(VALUES)
    deployment.database.zoo.insert_many([document(name) for name in names])
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    first = deployment.wait_until_equal(zero_cache)
    deployment.database.zoo.delete_many({})
    deployment.wait_until_equal(zero_cache)
    deployment.database.zoo.insert_many([document(name) for name in names])
    contents = deployment.wait_until_equal(zero_cache)

    for replica in (first, contents):
        rows = {row["_id"]: row for row in deployment.comparable(replica.rows)["zoo"]}
        assert rows == {name: zoo_row(name) for name in names}
    assert contents.replica_version == first.replica_version
    check_protocol(proxy)


def test_countries_and_cities_and_every_operation(deploy: Deploy, log: str) -> None:
    """Snapshot, then inserts, updates, replaces, deletes and a transaction over two collections: the replica equals MongoDB,
    and the transaction is one."""
    deployment = deploy(json.loads(SCHEMA_PATH.read_text()), log=log)
    sample.load(deployment.environment["MONGODB_URI"])
    database = deployment.database
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    snapshot = deployment.wait_until_equal(zero_cache)
    assert len(snapshot.rows["cities"]) > 30_000

    cities = [city["_id"] for city in database.cities.find({}, {"_id": 1}).limit(500)]
    template = database.cities.find_one({"_id": cities[0]})
    assert template is not None
    database.cities.insert_many([{**template, "_id": 10**9 + i, "name": f"New {i}"} for i in range(300)])
    database.cities.update_many({"_id": {"$in": cities[:100]}}, {"$set": {"population": 1}})
    database.cities.replace_one({"_id": cities[101]}, {**template, "_id": cities[101], "name": "Replaced"})
    database.cities.delete_many({"_id": {"$in": cities[200:260]}})
    country = database.countries.find_one({})
    assert country is not None
    with deployment.client.start_session() as session, session.start_transaction():
        database.countries.update_one({"_id": country["_id"]}, {"$set": {"population": 77_777}}, session=session)
        database.cities.update_one({"_id": cities[300]}, {"$set": {"population": 77_777}}, session=session)
    contents = deployment.wait_until_equal(zero_cache)

    assert contents.replica_version == snapshot.replica_version
    together = [
        {
            change["relation"]["name"]
            for change in transaction.changes
            if change.get("new", {}).get("population") == 77_777
        }
        for transaction in proxy.connections[-1].transactions()
    ]
    assert [tables for tables in together if tables] == [{"countries", "cities"}]
    check_protocol(proxy)
