"""The whole system with Django's database on PostgreSQL, as in production; the other tests give it SQLite."""

import copy
import time

import psycopg
import pytest

from tests.e2e.conftest import Deploy
from tests.e2e.deployment import check_protocol
from tests.e2e.workload import SCHEMA, fill
from tests.embedded.django_database import make_postgresql
from tests.embedded.waiting import wait_until
from zerosources.embedded.servers import PostgresServer

pytestmark = pytest.mark.timeout(300)

IDLE_SECONDS = 5.0


def sessions_of(connection: psycopg.Connection, database: str) -> tuple[int, int]:
    """How many sessions `database` has had, and how many it has now."""
    row = connection.execute(
        "SELECT sessions, numbackends FROM pg_stat_database WHERE datname = %s", [database]
    ).fetchone()
    assert row is not None
    return row


def test_documents_and_publishes_arrive_and_connections_are_kept(
    deploy: Deploy, postgres_server: PostgresServer
) -> None:
    """A snapshot, changes and a publish reach zero-cache. A watcher and a server with a stream keep the connections that they
    have, and open no more, while nothing happens."""
    url = make_postgresql(postgres_server)
    name = url.rpartition("/")[2]
    deployment = deploy(SCHEMA, log="redis", DATABASE_URL=url, HEARTBEAT_SECONDS="1")
    fill(deployment.database, 100)
    proxy = deployment.proxy(deployment.start())
    zero_cache = deployment.zero_cache(proxy)
    deployment.wait_until_equal(zero_cache)
    deployment.database.notes.insert_one({"_id": "live", "text": "live", "n": 1})
    deployment.wait_until_equal(zero_cache)
    schema = copy.deepcopy(SCHEMA)
    schema["tables"]["notes"]["columns"]["late"] = {"type": "string", "optional": True}
    deployment.publish(schema, {})
    deployment.database.notes.insert_one({"_id": "late", "text": "late", "n": 2, "late": "yes"})
    deployment.wait_until_equal(zero_cache)
    check_protocol(proxy)

    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        # The commands above have ended their sessions by now; PostgreSQL counts a session when it begins.
        before, _ = sessions_of(connection, name)
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > IDLE_SECONDS, IDLE_SECONDS + 5)
        after, open_now = sessions_of(connection, name)
    assert after - before <= 1, f"{after - before} sessions were opened in {IDLE_SECONDS} s"
    assert 2 <= open_now <= 8
