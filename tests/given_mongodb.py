"""A MongoDB that the tests did not start: the one that `make test MONGODB=…` names, by TEST_MONGODB_URI.

It may be a replica set or a sharded cluster that others use as well. So each process of a run has databases by names of its
own, which it drops in the end; whatever has to start, stop or configure a server, or needs a fail point, is skipped. This
module says why.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pymongo
import pytest

from zerosources.embedded.servers import MongoServer

VARIABLE = "TEST_MONGODB_URI"
PREFIX = "zero_test_"
"""What the names of all databases of all runs begin with. MongoDB takes 63 bytes."""

OWN_SERVER = "needs a MongoDB of its own, which it starts, stops or configures"
FAIL_POINTS = "needs fail points"
PLAIN_CONNECTION = "needs a connection without TLS or a password, which a proxy of the test changes"
EMBEDDED = "is about the embedded servers"


def given_uri() -> str:
    """Empty where none is given: then each file of tests has an embedded MongoDB."""
    return os.environ.get(VARIABLE, "")


def skip_if_given(need: str) -> None:
    """Ends a test, or a fixture, that does not work with a MongoDB that somebody else may use."""
    if given_uri():
        pytest.skip(f"{need}, and MONGODB is given")


class GivenMongo:
    """In place of a `MongoServer`. Names of databases become names of this process."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.prefix = f"{PREFIX}{uuid.uuid4().hex[:8]}_"

    @property
    def url(self) -> str:
        return self._uri

    def uri(self, database: str = "") -> str:
        return uri_of_database(self._uri, self.prefix + database)

    def drop_databases(self) -> None:
        """Those of this process, and no other."""
        with pymongo.MongoClient[dict[str, object]](self._uri) as client:
            for name in client.list_database_names():
                if name.startswith(self.prefix):
                    client.drop_database(name)


def uri_of_database(uri: str, database: str) -> str:
    """The same deployment, user and options, with another default database."""
    scheme, _, rest = uri.partition("://")
    authority, _, query = rest.partition("?")
    authority, _, former = authority.partition("/")
    if "@" in authority and "authsource=" not in query.lower():
        # Otherwise the user would be looked for in the database.
        query = "&".join(filter(None, [query, f"authSource={former or 'admin'}"]))
    return f"{scheme}://{authority}/{database}" + (f"?{query}" if query else "")


def hosts_of(uri: str) -> str:
    """Without user and password."""
    return uri.partition("://")[2].partition("?")[0].partition("/")[0].rpartition("@")[2]


@contextmanager
def given_mongo() -> Iterator[GivenMongo | None]:
    """The MongoDB that is given, if one is. Its databases of this process are dropped in the end, and no embedded one starts
    meanwhile."""
    uri = given_uri()
    if not uri:
        yield None
        return
    mongo = GivenMongo(uri)
    with patch.object(MongoServer, "start", lambda self: skip_if_given(OWN_SERVER)):
        try:
            yield mongo
        finally:
            mongo.drop_databases()
