"""source.py: connections by the names of sources, and what servers report about themselves."""

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
from tests.mongo.impatience import do_not_wait
from tests.mongo.opening import AskedDatabase
from zerosources.embedded.ports import free_port
from zerosources.embedded.servers import MongoServer


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not there is not waited for."""
    do_not_wait(monkeypatch)


# URIs


def test_an_unknown_source_names_the_variable_to_set() -> None:
    with pytest.raises(UnknownSource, match=r"'eu'.*MONGODB_URI_EU"):
        Sources({"default": "mongodb://x/y"}).database("eu")


def test_the_default_source_has_a_variable_without_a_suffix() -> None:
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
async def test_an_unusable_uri_is_not_shown(uri: str) -> None:
    """Its source is named."""
    sources = Sources({"eu": uri})
    with pytest.raises(ChangeSourceError) as caught:
        await inspect_source(sources.database("eu"))
    await sources.close()
    assert isinstance(caught.value, UnknownSource)
    assert "'eu'" in str(caught.value)
    for part in ("secret", "user", "host.example", "mongodb://user"):
        assert part not in str(caught.value)


@pytest.mark.usefixtures("hurried")
async def test_the_message_of_an_unreachable_server_has_no_host_and_no_password() -> None:
    port = free_port()
    sources = Sources({"eu": f"mongodb://user:secret@127.0.0.1:{port}/shop"})
    with pytest.raises(SourceUnreachable) as caught:
        await inspect_source(sources.database("eu"))
    await sources.close()
    for part in ("secret", "user", str(port)):
        assert part not in str(caught.value)


def test_printed_settings_show_no_uri() -> None:
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


async def test_reads_and_writes_are_of_a_majority(database: Database) -> None:
    assert (database.read_concern.level, database.write_concern.document["w"]) == ("majority", "majority")


async def test_a_uri_cannot_weaken_the_concerns(mongo_server: MongoServer) -> None:
    sources = Sources({"eu": mongo_server.uri("shop") + "&w=0&readConcernLevel=local"})
    database = sources.database("eu")
    assert (database.read_concern.level, database.write_concern.document["w"]) == ("majority", "majority")
    await sources.close()


@pytest.mark.usefixtures("hurried")
async def test_a_uri_cannot_select_a_secondary(mongo_server: MongoServer) -> None:
    """A secondary may be behind what the change stream has shown. Here there is none."""
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
    """A quiet stream continues, another request is answered while it waits, and one that only asks
    for more events is answered at once, whatever the URI says about times and connections."""
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


async def test_a_replica_set_reports_its_name_and_version(database: Database) -> None:
    report = await inspect_source(database)
    name = (await database.command("hello")).get("setName")
    assert report.topology == (f"replica set {name}" if name else "sharded cluster")
    assert report.version >= (6, 0)


async def test_a_standalone_is_refused_with_the_remedy(run_dir: Path) -> None:
    with MongoServer(run_dir / "mongodb-standalone", standalone=True) as server:
        sources = Sources({"default": server.uri("shop")})
        with pytest.raises(SourceUnusable, match=r"rs\.initiate"):
            await inspect_source(sources.database("default"))
        await sources.close()


@pytest.mark.embedded_mongodb
@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("more", ["", "&directConnection=true"])
async def test_a_server_of_another_replica_set_is_reported_with_both_names(
    mongo_server: MongoServer, more: str
) -> None:
    uri = mongo_server.uri("shop").replace("replicaSet=secantus", "replicaSet=rs7")
    sources = Sources({"default": f"{uri}{more}"})
    with pytest.raises(SourceUnusable, match=r"'rs7'.*'secantus'.*replicaSet"):
        await inspect_source(sources.database("default"))
    await sources.close()


async def test_an_interrupted_inspection_is_retried_and_a_refused_one_is_not(
    mongo_server: MongoServer, database: Database
) -> None:
    async with fail_commands(mongo_server, "buildInfo", errorCode=6):
        with pytest.raises(SourceUnreachable):
            await inspect_source(database)
    async with fail_commands(mongo_server, "buildInfo", errorCode=13):
        with pytest.raises(SourceUnusable):
            await inspect_source(database)


class Replies:
    """A database with prescribed answers to commands, as of a server of another kind or version."""

    def __init__(self, replies: Mapping[str, Mapping[str, Any]]) -> None:
        self._replies = replies

    async def command(self, name: str) -> Mapping[str, Any]:
        return self._replies[name]


def server_of(version: list[int], **hello: Any) -> Any:
    return Replies({"hello": hello, "buildInfo": {"versionArray": version}, "ping": {"ok": 1.0}})


async def test_a_secondary_is_unreachable() -> None:
    """If a URI names it directly. It may be behind what was read from the primary."""
    with pytest.raises(SourceUnreachable, match="directConnection"):
        await inspect_source(server_of([7, 0, 5, 0], setName="rs", secondary=True))


async def test_a_router_is_recognized() -> None:
    report = await inspect_source(server_of([7, 0, 5, 0], msg="isdbgrid"))
    assert report == SourceReport((7, 0, 5), "sharded cluster")


@pytest.mark.parametrize("version", [[5, 0, 31, 0], [4, 4, 0, 0]])
async def test_a_version_without_pre_images_is_refused(version: list[int]) -> None:
    """The message names the version that is needed."""
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
def test_large_events_are_split_from_7_0_and_6_0_9_on(version: tuple[int, ...], expected: bool) -> None:
    assert SourceReport(version, "").can_split_large_events is expected


# Cluster times


async def test_the_cluster_time_covers_acknowledged_writes(database: Database) -> None:
    """It never goes back."""
    times = []
    for number in range(5):
        await database.city.insert_one({"_id": number})
        times.append(await current_cluster_time(database))
    assert times == sorted(times)
    assert len(set(times)) == 5


async def test_the_majoritys_cluster_time_is_read_from_a_majority(database: Database) -> None:
    """The embedded server has one member, so the request has to show that writes which may be
    rolled back do not count."""
    asked: Any = AskedDatabase(database)
    await majority_cluster_time(asked)
    assert [command["readConcern"] for command in asked.commands] == [{"level": "majority"}]


async def test_a_server_outside_of_a_replica_set_has_no_cluster_time() -> None:
    with pytest.raises(SourceUnusable):
        await current_cluster_time(server_of([7, 0, 0]))


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_cluster_times_convert_to_timestamps_and_back(seconds: int, increment: int) -> None:
    """They sort alike."""
    timestamp = Timestamp(seconds, increment)
    assert timestamp_of(cluster_time_of(timestamp)) == timestamp
    assert cluster_time_of(timestamp) == seconds << 32 | increment


# Routers


def described(host: str, port: int = 27017, **hello: Any) -> ServerDescription:
    return ServerDescription((host, port), Hello({"ok": 1, "maxWireVersion": 21, **hello}) if hello else None)


def router(host: str, port: int = 27017) -> ServerDescription:
    return described(host, port, msg="isdbgrid")


def test_the_same_one_of_several_routers_is_used() -> None:
    """A cursor exists on one of them."""
    servers = [router("b"), router("a", 27018), router("a", 27017), router("c")]
    assert _one_mongos(servers) == _one_mongos(servers[::-1]) == [servers[2]]


def test_a_router_that_is_down_is_not_used() -> None:
    assert _one_mongos([described("a"), router("b")]) == [router("b")]


def test_all_members_of_a_replica_set_can_be_selected() -> None:
    servers = [described("b", isWritablePrimary=True, setName="rs"), described("a", secondary=True, setName="rs")]
    assert _one_mongos(servers) == servers


def test_no_server_is_selected_if_none_is_up() -> None:
    assert _one_mongos([]) == []
