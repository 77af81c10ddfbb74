"""What is done to a system, each undone again: processes, Redis, MongoDB, the network.

MongoDB is killed as well. The embedded one, which syncs each commit here, keeps what it has acknowledged and what its change
streams have shown; but it drops and renames a collection document by document, and says so in its oplog only then
(`Storage.drop_collection` of SecantusDB), where MongoDB does both at once. So it is not killed meanwhile.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import psutil
import redis
from pymongo.errors import PyMongoError

from changesource.mongo.source import APP_NAME
from tests.embedded.waiting import wait_until
from tests.faults.fault import Fault, FaultMissed, Part
from tests.faults.forged_markers import ForgedMarkers, LargeMarkers, MisusedMarkers
from tests.faults.made_up_replicas import MadeUpReplicas, SlowReaders
from tests.faults.publishes import Publish
from tests.faults.system import LEASE_SECONDS, System
from tests.faults.tables import LONG, long_documents
from zerosources.embedded.project import ServeCommand, WatchChangesCommand
from zerosources.embedded.server import Server

Result = TypeVar("Result")

LEADER_SECONDS = 20.0
"""How long a fault of the leader waits for one, while others break what it needs to lead."""


class KillWatcher(Fault):
    """SIGKILL of the leader, or of the one that stands by."""

    parts = frozenset({Part.WATCHERS})

    def __init__(self, *, is_leader: bool) -> None:
        self.name = f"{'leader' if is_leader else 'standby'} killed"
        self._is_leader = is_leader
        self._victim: WatchChangesCommand

    def inject(self, system: System) -> None:
        self._victim = watcher(system, is_leader=self._is_leader)
        self._victim.kill()

    def heal(self, system: System) -> None:
        self._victim.start()


class PauseWatcher(Fault):
    """SIGSTOP of the leader, or of the one that stands by, for longer than the lease."""

    parts = frozenset({Part.WATCHERS})
    hold_seconds = LEASE_SECONDS + 1.5

    def __init__(self, *, is_leader: bool) -> None:
        self.name = f"{'leader' if is_leader else 'standby'} paused"
        self._is_leader = is_leader
        self._victim: WatchChangesCommand

    def inject(self, system: System) -> None:
        self._victim = watcher(system, is_leader=self._is_leader)
        pause(self._victim)

    def heal(self, system: System) -> None:
        resume(self._victim)


class StopWatcher(Fault):
    """SIGTERM of the leader. It ends with status 0."""

    parts = frozenset({Part.WATCHERS})
    name = "leader stopped"

    def inject(self, system: System) -> None:
        self._victim = watcher(system, is_leader=True)
        self._victim.stop()
        assert self._victim.exit_status == 0, f"watch_changes ended with {self._victim.exit_status} after SIGTERM"

    def heal(self, system: System) -> None:
        self._victim.start()


class EndServer(Fault):
    """The server that zero-cache is connected to is killed or stopped, and zero-cache comes back to the other one."""

    parts = frozenset({Part.SERVERS})

    def __init__(self, *, is_killed: bool) -> None:
        self.name = f"server {'killed' if is_killed else 'stopped'}"
        self._is_killed = is_killed
        self._victim: ServeCommand

    def inject(self, system: System) -> None:
        self._victim = system.connected_server
        system.connect_to_another_server()
        if self._is_killed:
            self._victim.kill()
            return
        self._victim.stop()
        assert self._victim.exit_status == 0, f"serve ended with {self._victim.exit_status} after SIGTERM"

    def heal(self, system: System) -> None:
        self._victim.start()


class PauseServer(Fault):
    """SIGSTOP of the server that zero-cache is connected to."""

    parts = frozenset({Part.SERVERS})
    name = "server paused"
    hold_seconds = 3.0

    def inject(self, system: System) -> None:
        self._victim = system.connected_server
        pause(self._victim)

    def heal(self, system: System) -> None:
        resume(self._victim)


class KillZeroCache(Fault):
    """It is started again by what looks after it."""

    parts = frozenset({Part.ZERO_CACHE})
    name = "zero-cache killed"
    hold_seconds = 0.5

    def inject(self, system: System) -> None:
        system.zero_cache.kill()

    def heal(self, system: System) -> None:
        wait_until(lambda: system.zero_cache.is_running)


class PauseZeroCache(Fault):
    """SIGSTOP of all its processes."""

    parts = frozenset({Part.ZERO_CACHE})
    name = "zero-cache paused"
    hold_seconds = 3.0

    def inject(self, system: System) -> None:
        pause(system.zero_cache)

    def heal(self, system: System) -> None:
        resume(system.zero_cache)


class RedisKilled(Fault):
    """It is away for a while and comes back empty."""

    parts = frozenset({Part.REDIS})
    name = "Redis killed"

    def inject(self, system: System) -> None:
        system.valkey.kill()

    def heal(self, system: System) -> None:
        system.valkey.start()


class RedisFlushed(Fault):
    parts = frozenset({Part.REDIS})
    name = "Redis flushed"
    hold_seconds = 0.0

    def inject(self, system: System) -> None:
        with redis.Redis.from_url(system.valkey.url) as connection:
            connection.flushall()

    def heal(self, system: System) -> None:
        """Nothing is left to undo."""


class RedisFull(Fault):
    """It refuses every write for want of memory."""

    parts = frozenset({Part.REDIS})
    name = "Redis full"

    def inject(self, system: System) -> None:
        self._set_limit(system, "1")

    def heal(self, system: System) -> None:
        self._set_limit(system, "0")

    def _set_limit(self, system: System, number_of_bytes: str) -> None:
        with redis.Redis.from_url(system.valkey.url) as connection:
            connection.config_set("maxmemory", number_of_bytes)


class RedisNetwork(Fault):
    """What the proxy does to all connections to Redis: one of its methods, by name."""

    parts = frozenset({Part.REDIS_NETWORK})

    def __init__(self, harm: str, *arguments: float, hold_seconds: float = Fault.hold_seconds) -> None:
        self.name = f"network of Redis: {harm}"
        self.hold_seconds = hold_seconds
        self._harm = harm
        self._arguments = arguments

    def inject(self, system: System) -> None:
        getattr(system.redis_proxy, self._harm)(*self._arguments)

    def heal(self, system: System) -> None:
        system.redis_proxy.heal()


class StreamNetwork(Fault):
    """What the proxy does to the connection between zero-cache and the server."""

    parts = frozenset({Part.STREAM_NETWORK})

    def __init__(self, harm: str, *arguments: float) -> None:
        self.name = f"network of the stream: {harm}"
        self._harm = harm
        self._arguments = arguments

    def inject(self, system: System) -> None:
        getattr(system.stream_proxy, self._harm)(*self._arguments)

    def heal(self, system: System) -> None:
        system.stream_proxy.heal()


class MongoNetwork(Fault):
    """What the proxy does to all connections of the product to MongoDB: one of its methods, by name."""

    parts = frozenset({Part.MONGO_NETWORK})

    def __init__(self, harm: str, *arguments: float, hold_seconds: float = Fault.hold_seconds) -> None:
        self.name = f"network of MongoDB: {harm}"
        self.hold_seconds = hold_seconds
        self._harm = harm
        self._arguments = arguments

    def inject(self, system: System) -> None:
        getattr(system.mongo_proxy, self._harm)(*self._arguments)

    def heal(self, system: System) -> None:
        system.mongo_proxy.heal()


class EndMongo(Fault):
    """It is stopped or killed, is away for a while and comes back with its data."""

    parts = frozenset({Part.MONGO})

    def __init__(self, *, is_killed: bool) -> None:
        self.name = f"MongoDB {'killed' if is_killed else 'restarted'}"
        self._is_killed = is_killed

    def inject(self, system: System) -> None:
        if self._is_killed:
            with system.change_of_collections:
                system.mongo.kill()
        else:
            system.mongo.stop()

    def heal(self, system: System) -> None:
        system.mongo.start()


class CursorsKilled(Fault):
    """Every change stream and every scan that is open."""

    parts = frozenset({Part.MONGO})
    name = "cursors killed"
    hold_seconds = 0.0

    def inject(self, system: System) -> None:
        admin = system.deployment.client.admin
        for operation in admin.command({"currentOp": 1, "$all": True})["inprog"]:
            if operation["type"] == "idleCursor" and operation["ns"].startswith(f"{system.deployment.app_id}."):
                namespace = operation["ns"].partition(".")[2]
                system.deployment.database.command({"killCursors": namespace, "cursors": [operation["cursorId"]]})

    def heal(self, system: System) -> None:
        """Nothing is left to undo."""


class FailPoint(Fault):
    """MongoDB answers commands of the product with an error, or not at all."""

    parts = frozenset({Part.MONGO})

    def __init__(self, name: str, *commands: str, **data: Any) -> None:
        self.name = f"MongoDB answers {name}"
        self._data: Mapping[str, Any] = {"failCommands": list(commands), "appName": APP_NAME, **data}

    def inject(self, system: System) -> None:
        system.deployment.client.admin.command(
            {"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": self._data}
        )

    def heal(self, system: System) -> None:
        system.deployment.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


class StepDown(Fault):
    """The primary is none for a second."""

    parts = frozenset({Part.MONGO})
    name = "MongoDB stepped down"

    def inject(self, system: System) -> None:
        system.deployment.client.admin.command({"replSetStepDown": 1, "force": True})

    def heal(self, system: System) -> None:
        """It is the primary again by itself."""

        def is_primary() -> bool:
            try:
                return bool(system.deployment.client.admin.command("hello")["isWritablePrimary"])
            except PyMongoError:
                return False

        wait_until(is_primary, 30)


class StopServerInTransaction(Fault):
    """SIGTERM of a server that has sent a part of a long transaction, over a slow network."""

    parts = frozenset({Part.SERVERS, Part.STREAM_NETWORK, Part.ZERO_CACHE, Part.MONGO, Part.MONGO_NETWORK})
    name = "server stopped in a transaction"
    hold_seconds = 0.0

    def __init__(self) -> None:
        self._end = EndServer(is_killed=False)

    def inject(self, system: System) -> None:
        system.stream_proxy.slow_down(0.05)
        with system.deployment.client.start_session() as session, session.start_transaction():
            system.deployment.database[LONG].insert_many(long_documents(), session=session)
        try:
            wait_for_something_to_break(lambda: sent_of_a_transaction(system) > 20, 20)
        except FaultMissed:
            self._tidy_up(system)
            raise
        self._end.inject(system)

    def heal(self, system: System) -> None:
        self._tidy_up(system)
        self._end.heal(system)

    def _tidy_up(self, system: System) -> None:
        system.stream_proxy.heal()
        system.deployment.database[LONG].delete_many({})


class StopServerInSnapshot(Fault):
    """A zero-cache without a replica comes, and its server gets SIGTERM while it reads for the snapshot."""

    parts = frozenset({Part.SERVERS, Part.STREAM_NETWORK, Part.ZERO_CACHE, Part.MONGO, Part.MONGO_NETWORK})
    name = "server stopped in a snapshot"
    hold_seconds = 0.0

    def __init__(self) -> None:
        self._end = EndServer(is_killed=False)
        self._slow_scan = FailPoint("a scan slowly", "find", blockConnection=True, blockTimeMS=1_000)

    def inject(self, system: System) -> None:
        self._slow_scan.inject(system)
        system.renew_zero_cache()
        try:
            wait_for_something_to_break(lambda: system.is_taking_a_snapshot, 30)
        except FaultMissed:
            self._slow_scan.heal(system)
            raise
        self._end.inject(system)

    def heal(self, system: System) -> None:
        """zero-cache has ended, as it does when its first snapshot breaks off, and is started again."""
        self._slow_scan.heal(system)
        self._end.heal(system)


READS = ("aggregate", "getMore", "find")

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        KillWatcher(is_leader=True),
        KillWatcher(is_leader=False),
        PauseWatcher(is_leader=True),
        PauseWatcher(is_leader=False),
        StopWatcher(),
        EndServer(is_killed=True),
        EndServer(is_killed=False),
        PauseServer(),
        KillZeroCache(),
        PauseZeroCache(),
        RedisKilled(),
        RedisFlushed(),
        RedisFull(),
        RedisNetwork("slow_down", 0.05, hold_seconds=3.0),
        RedisNetwork("stop_passing", hold_seconds=6.0),
        RedisNetwork("cut"),
        RedisNetwork("half_close"),
        StreamNetwork("slow_down", 0.05),
        StreamNetwork("stop_passing"),
        StreamNetwork("cut"),
        StreamNetwork("half_close"),
        EndMongo(is_killed=False),
        EndMongo(is_killed=True),
        MongoNetwork("slow_down", 0.05, hold_seconds=3.0),
        MongoNetwork("stop_passing", hold_seconds=3.0),
        MongoNetwork("cut"),
        MongoNetwork("half_close"),
        CursorsKilled(),
        FailPoint("nothing", *READS, "update", "insert", closeConnection=True),
        FailPoint("CursorNotFound", "getMore", errorCode=43),
        FailPoint("NotWritablePrimary", *READS, "update", "insert", errorCode=10107),
        FailPoint("InterruptedDueToReplStateChange", *READS, errorCode=11602),
        StepDown(),
        StopServerInTransaction(),
        StopServerInSnapshot(),
        ForgedMarkers(),
        MisusedMarkers(),
        LargeMarkers(),
        MadeUpReplicas(),
        SlowReaders(),
        Publish(),
    )
}
"""By name. Replies of Redis are waited for up to 5 seconds, so it is silent for longer."""


def watcher(system: System, *, is_leader: bool) -> WatchChangesCommand:
    """The one that leads, or one that does not.

    Raises:
        FaultMissed: nobody has led for a while.
    """
    leader = wait_for_something_to_break(system.leading_watcher, LEADER_SECONDS)
    return next(found for found in system.watchers if (found is leader) == is_leader)


def wait_for_something_to_break(condition: Callable[[], Result], timeout: float) -> Result:
    """What `condition` gives once that is true in a boolean sense.

    Raises:
        FaultMissed: it was not within `timeout` seconds.
    """
    try:
        return wait_until(condition, timeout)
    except AssertionError as error:
        raise FaultMissed(str(error)) from None


def pause(server: Server) -> None:
    """SIGSTOP of a server and all its processes, which stand below its guard."""
    send_to_all(server, signal.SIGSTOP)


def resume(server: Server) -> None:
    send_to_all(server, signal.SIGCONT)


def send_to_all(server: Server, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(server.pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)


def sent_of_a_transaction(system: System) -> int:
    """How many frames of a transaction that has not ended zero-cache has been sent."""
    frames = system.latest_frames()
    last = next((n for n, frame in enumerate(reversed(frames)) if frame.startswith(('["begin"', '["commit"'))), None)
    return last if last is not None and frames[-1 - last].startswith('["begin"') else 0
