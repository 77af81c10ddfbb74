"""given_mongodb.py: tests against a MongoDB that they did not start."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.given_mongodb import EMBEDDED, FAIL_POINTS, OWN_SERVER, PREFIX, VARIABLE, hosts_of, uri_of_database
from zerosources.embedded.servers import MongoServer

ROOT = Path(__file__).parent.parent
RUN_SECONDS = 120


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("mongodb://a:1,b:2/?replicaSet=rs0", "mongodb://a:1,b:2/x?replicaSet=rs0"),
        ("mongodb://a:1", "mongodb://a:1/x"),
        ("mongodb://a:1?replicaSet=rs0", "mongodb://a:1/x?replicaSet=rs0"),
        ("mongodb://a:1/shop?replicaSet=rs0", "mongodb://a:1/x?replicaSet=rs0"),
        ("mongodb://u:p%40@a:1/", "mongodb://u:p%40@a:1/x?authSource=admin"),
        ("mongodb://u:p@a:1/shop?tls=true", "mongodb://u:p@a:1/x?tls=true&authSource=shop"),
        ("mongodb+srv://u:p@cluster/?authSource=ours", "mongodb+srv://u:p@cluster/x?authSource=ours"),
    ],
)
def test_uri_of_a_database(uri: str, expected: str) -> None:
    """Only the default database is another; a user stays in the database where it is."""
    assert uri_of_database(uri, "x") == expected


def test_hosts_without_a_password() -> None:
    """What the tests say of the deployment holds no secret."""
    assert hosts_of("mongodb+srv://user:secret@a.example:1,b/shop?x=secret") == "a.example:1,b"


@pytest.mark.embedded_mongodb
def test_a_run_against_a_given_mongodb(mongo_server: MongoServer) -> None:
    """Tests run in databases of their own, which are gone afterwards, while others stay; what cannot run says why."""
    tests = [
        "tests/mongo/test_documents.py::test_a_scan_reads_every_document_once_in_the_order_of_id",
        "tests/mongo/test_pre_images.py",
        "tests/mongo/test_source.py::test_a_replica_set_reports_its_name_and_version",
        "tests/mongo/test_source.py::test_a_standalone_is_refused_with_the_remedy",
        "tests/mongo/test_source.py::test_an_interrupted_inspection_is_retried_and_a_refused_one_is_not",
        "tests/embedded/test_servers.py",
    ]
    with pymongo.MongoClient[dict[str, Any]](mongo_server.uri()) as client:
        for name in ("shop", f"{PREFIX}another_run"):
            client[name].city.insert_one({"_id": 1})
        databases = set(client.list_database_names())
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-rsfE", "-p", "no:cacheprovider", *tests],
            cwd=ROOT,
            env={**os.environ, VARIABLE: mongo_server.uri()},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        assert run.returncode == 0, run.stdout
        assert set(client.list_database_names()) == databases
    assert f"MongoDB: given, 127.0.0.1:{mongo_server.port}" in run.stdout
    for reason in (FAIL_POINTS, OWN_SERVER, EMBEDDED):
        assert f"{reason}, and MONGODB is given" in run.stdout
    assert "passed" in run.stdout.splitlines()[-1]
