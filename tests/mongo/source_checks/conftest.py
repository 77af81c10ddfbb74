"""A server with access control, and users with more and fewer rights."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from changesource.mongo.source import Database, Sources
from zerosources.embedded.servers import MongoServer

DATABASE = "shop"
PASSWORD = "sesame-open"
MARKERS_ROLE = {
    "privileges": [
        {"resource": {"db": DATABASE, "collection": "zero_sources_markers"}, "actions": ["find", "insert", "update"]}
    ],
    "roles": [{"role": "read", "db": DATABASE}],
}
USERS: dict[str, list[Any]] = {
    "reader": ["read"],
    "writer": ["readWrite"],
    "streamer": ["zeroSources"],
    "oplogger": ["read", {"role": "read", "db": "local"}],
    "nobody": [],
}

AsUser = Callable[[str], Database]


@pytest.fixture(scope="session")
def guarded_server(run_dir: Path) -> Iterator[MongoServer]:
    """A server with `USERS`, who are created before access control is on."""
    folder = run_dir / "mongodb-guarded"
    with MongoServer(folder) as server, pymongo.MongoClient[dict[str, Any]](server.uri()) as client:
        client[DATABASE].command("createRole", "zeroSources", **MARKERS_ROLE)
        for user, roles in USERS.items():
            client[DATABASE].command("createUser", user, pwd=PASSWORD, roles=roles)
        client[DATABASE].city.insert_one({"_id": 1})
    with MongoServer(folder, extra_args=["--auth"]) as server:
        yield server


def uri_of(server: MongoServer, user: str, password: str = PASSWORD) -> str:
    return server.uri(DATABASE).replace("//", f"//{user}:{password}@") + f"&authSource={DATABASE}"


@pytest.fixture
async def as_user(guarded_server: MongoServer) -> AsyncIterator[AsUser]:
    """Returns the database as one of `USERS` sees it."""
    sources = Sources({user: uri_of(guarded_server, user) for user in USERS})
    yield sources.database
    await sources.close()
