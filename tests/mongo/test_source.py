"""source.py: connections by the names of sources, and what the servers say of themselves."""

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bson import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from pymongo.hello import Hello
from pymongo.server_description import ServerDescription

from changesource.conf import ChangeSourceSettings
from changesource.errors import ChangeSourceError, SourceUnreachable, SourceUnusable, UnknownSource
from changesource.mongo import source
from changesource.mongo.change_stream import StreamContent, open_change_stream
from changesource.mongo.documents import find_documents, scan
from changesource.mongo.source import (
    Database,
    SourceReport,
    Sources,
    _one_mongos,
    cluster_time_of,
    current_cluster_time,
    inspect_source,
    majority_cluster_time,
    timestamp_of,
)
from tests.mongo.failing import fail_commands
from tests.mongo.opening import AskedDatabase
from zerosources.embedded.ports import free_port
from zerosources.embedded.servers import MongoServer


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there is not waited for."""
    monkeypatch.setattr(source, "SERVER_SELECTION_TIMEOUT_MS", 100)


# URIs


def test_unknown_source() -> None:
    """A name without a URI says which variable to set."""
    with pytest.raises(UnknownSource, match=r"'eu'.*MONGODB_URI_EU"):
        Sources({"default": "mongodb://x/y"}).database("eu")


def test_unknown_default() -> None:
    """The source `default` has a variable without a suffix."""
    with pytest.raises(UnknownSource, match=r"'default'.*Set MONGODB_URI\."):
        Sources({}).database("default")


BAD_URIS = {
    "no database": "mongodb://user:secret@host.example/",
    "no scheme": "user:secret@host.example/shop",
    "another scheme": "postgres://user:secret@host.example/shop",
    "odd password": "mongodb://user:se:cr@et@host.example/shop",
    "odd percent": "mongodb://user:secret%zz@host.example/shop",
    "odd port": "mongodb://user:secret@host.example:99999/shop",
    "odd option": "mongodb://user:secret@host.example/shop?replicaSet",
    "odd name": "mongodb://user:secret@host.example/sh op",
    "empty": "",
}


@pytest.mark.parametrize("uri", BAD_URIS.values(), ids=BAD_URIS)
async def test_bad_uri(uri: str) -> None:
    """A URI that cannot be used is named by its source, and shown neither whole nor in part."""
    sources = Sources({"eu": uri})
    with pytest.raises(ChangeSourceError) as caught:
        await inspect_source(sources.database("eu"))
    await sources.close()
    assert isinstance(caught.value, UnknownSource)
    assert "'eu'" in str(caught.value)
    for part in ("secret", "user", "host.example", "mongodb://user"):
        assert part not in str(caught.value)


@pytest.mark.usefixtures("hurried")
async def test_message_of_an_unreachable_server() -> None:
    """Neither the host nor the password is in the message."""
    port = free_port()
    sources = Sources({"eu": f"mongodb://user:secret@127.0.0.1:{port}/shop"})
    with pytest.raises(SourceUnreachable) as caught:
        await inspect_source(sources.database("eu"))
    await sources.close()
    for part in ("secret", "user", str(port)):
        assert part not in str(caught.value)


def test_settings_show_no_uri() -> None:
    """What is printed of an object that holds URIs has none."""
    assert "secret" not in repr(ChangeSourceSettings(sources={"eu": "mongodb://user:secret@host/x"}))


async def test_one_client_for_each_source(mongo_server: MongoServer) -> None:
    """The same source is one client, with the database that its URI names."""
    sources = Sources({"eu": mongo_server.uri("shop"), "us": mongo_server.uri("blog")})
    eu, again, us = sources.database("eu"), sources.database("eu"), sources.database("us")
    assert eu.client is again.client
    assert eu.client is not us.client
    assert eu.name.endswith("shop")
    assert us.name.endswith("blog")
    await sources.close()


async def test_concerns(database: Database) -> None:
    """Only what a majority has is read, and a write is one of a majority."""
    assert (database.read_concern.level, database.write_concern.document["w"]) == ("majority", "majority")


async def test_concerns_of_the_uri(mongo_server: MongoServer) -> None:
    """A URI cannot weaken that."""
    sources = Sources({"eu": mongo_server.uri("shop") + "&w=0&readConcernLevel=local"})
    database = sources.database("eu")
    assert (database.read_concern.level, database.write_concern.document["w"]) == ("majority", "majority")
    await sources.close()


@pytest.mark.usefixtures("hurried")
async def test_read_preference_of_the_uri(mongo_server: MongoServer) -> None:
    """A URI cannot have a secondary asked, which may be behind what the change stream has shown. Here there is none."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    sources = Sources({"eu": f"{mongo_server.uri(name)}&readPreference=secondary"})
    database = sources.database("eu")
    start = await current_cluster_time(database)
    await database.city.insert_one({"_id": 1})
    for found in (find_documents(database, "city", [1]), scan(database, "city")):
        assert [dict(document) async for documents in found for document in documents] == [{"_id": 1}]
    stream = await open_change_stream(database, StreamContent(["city"]), start, splits_large_events=False)
    assert [event.document_id for event in (await stream.next_batch()).events] == [1]
    await stream.close()
    await sources.close()


@pytest.mark.parametrize("options", ["timeoutMS=20000", "socketTimeoutMS=900", "maxPoolSize=1&waitQueueTimeoutMS=100"])
async def test_options_of_the_uri_do_not_slow_a_stream_down(mongo_server: MongoServer, options: str) -> None:
    """A quiet stream goes on, another request is answered while it waits, and what asks only whether there is more is
    answered at once, whatever the URI says about times and connections."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    sources = Sources({"eu": f"{mongo_server.uri(name)}&{options}"})
    database = sources.database("eu")
    start = await current_cluster_time(database)
    stream = await open_change_stream(database, StreamContent(["city"]), start, splits_large_events=False)
    try:
        async with asyncio.timeout(5):
            waiting = asyncio.ensure_future(stream.next_batch())
            await asyncio.gather(*(current_cluster_time(database) for _ in range(3)))
            assert (await waiting).is_end
            assert (await stream.next_batch(wait=False)).is_end
    finally:
        await stream.close()
        await sources.close()


# Inspection


async def test_replica_set(database: Database) -> None:
    """A replica set says its name and its version."""
    report = await inspect_source(database)
    name = (await database.command("hello")).get("setName")
    assert report.topology == (f"replica set {name}" if name else "sharded cluster")
    assert report.version >= (6, 0)


async def test_standalone(run_dir: Path) -> None:
    """A standalone is refused with what to do."""
    with MongoServer(run_dir / "mongodb-standalone", standalone=True) as server:
        sources = Sources({"default": server.uri("shop")})
        with pytest.raises(SourceUnusable, match=r"rs\.initiate"):
            await inspect_source(sources.database("default"))
        await sources.close()


@pytest.mark.embedded_mongodb
@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("more", ["", "&directConnection=true"])
async def test_wrong_replica_set(mongo_server: MongoServer, more: str) -> None:
    """A server of another replica set than the URI names is found, and both names are said."""
    uri = mongo_server.uri("shop").replace("replicaSet=secantus", "replicaSet=rs7")
    sources = Sources({"default": f"{uri}{more}"})
    with pytest.raises(SourceUnusable, match=r"'rs7'.*'secantus'.*replicaSet"):
        await inspect_source(sources.database("default"))
    await sources.close()


async def test_inspection_of_a_server_that_fails(mongo_server: MongoServer, database: Database) -> None:
    """An interruption is worth another try, a refusal is not."""
    async with fail_commands(mongo_server, "buildInfo", errorCode=6):
        with pytest.raises(SourceUnreachable):
            await inspect_source(database)
    async with fail_commands(mongo_server, "buildInfo", errorCode=13):
        with pytest.raises(SourceUnusable):
            await inspect_source(database)


class Replies:
    """Answers commands with what it was given, as a server of another kind or version would."""

    def __init__(self, replies: Mapping[str, Mapping[str, Any]]) -> None:
        self._replies = replies

    async def command(self, name: str) -> Mapping[str, Any]:
        return self._replies[name]


def server_of(version: list[int], **hello: Any) -> Any:
    return Replies({"hello": hello, "buildInfo": {"versionArray": version}, "ping": {"ok": 1.0}})


async def test_secondary() -> None:
    """A secondary that a URI names directly may be behind what was read of the primary."""
    with pytest.raises(SourceUnreachable, match="directConnection"):
        await inspect_source(server_of([7, 0, 5, 0], setName="rs", secondary=True))


async def test_sharded_cluster() -> None:
    """A router says that it is one."""
    report = await inspect_source(server_of([7, 0, 5, 0], msg="isdbgrid"))
    assert report == SourceReport((7, 0, 5), "sharded cluster")


@pytest.mark.parametrize("version", [[5, 0, 31, 0], [4, 4, 0, 0]])
async def test_too_old(version: list[int]) -> None:
    """A version without pre-images is refused, with the one that is needed."""
    with pytest.raises(SourceUnusable, match=r"Upgrade to 6\.0"):
        await inspect_source(server_of(version, setName="rs"))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((6, 0, 0), False),
        ((6, 0, 8), False),
        ((6, 0, 9), True),
        ((6, 0, 20), True),
        ((6, 1, 0), False),
        ((6, 3, 2), False),
        ((7, 0, 0), True),
        ((8, 2, 1), True),
    ],
)
def test_versions_that_split_events(version: tuple[int, ...], expected: bool) -> None:
    """MongoDB splits large events from 7.0 on, and in 6.0 from 6.0.9 on."""
    assert SourceReport(version, "").can_split_large_events is expected


# Cluster times


async def test_cluster_time_after_a_write(database: Database) -> None:
    """The current cluster time is not before a write that was acknowledged, and never goes back."""
    times = []
    for number in range(5):
        await database.city.insert_one({"_id": number})
        times.append(await current_cluster_time(database))
    assert times == sorted(times)
    assert len(set(times)) == 5


async def test_what_a_majority_has_is_asked_of_a_majority(database: Database) -> None:
    """The embedded server has one member, so what is asked has to show that writes which may be rolled back do not count."""
    asked: Any = AskedDatabase(database)
    await majority_cluster_time(asked)
    assert [command["readConcern"] for command in asked.commands] == [{"level": "majority"}]


async def test_no_cluster_time() -> None:
    """A server that is no member of a replica set has none."""
    with pytest.raises(SourceUnusable):
        await current_cluster_time(server_of([7, 0, 0]))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_timestamps(seconds: int, increment: int) -> None:
    """A cluster time is a timestamp and the other way round, and they sort alike."""
    timestamp = Timestamp(seconds, increment)
    assert timestamp_of(cluster_time_of(timestamp)) == timestamp
    assert cluster_time_of(timestamp) == seconds << 32 | increment


# Routers


def described(host: str, port: int = 27017, **hello: Any) -> ServerDescription:
    return ServerDescription((host, port), Hello({"ok": 1, "maxWireVersion": 21, **hello}) if hello else None)


def router(host: str, port: int = 27017) -> ServerDescription:
    return described(host, port, msg="isdbgrid")


def test_one_of_several_routers() -> None:
    """Of several routers always the same one is used: a cursor lives on one of them."""
    servers = [router("b"), router("a", 27018), router("a", 27017), router("c")]
    assert _one_mongos(servers) == _one_mongos(servers[::-1]) == [servers[2]]


def test_router_that_is_down() -> None:
    """A router that does not answer is none."""
    assert _one_mongos([described("a"), router("b")]) == [router("b")]


def test_replica_set_members() -> None:
    """Members of a replica set are all left to choose from."""
    servers = [described("b", isWritablePrimary=True, setName="rs"), described("a", secondary=True, setName="rs")]
    assert _one_mongos(servers) == servers


def test_no_servers() -> None:
    """Where nothing is up there is nothing to choose."""
    assert _one_mongos([]) == []
