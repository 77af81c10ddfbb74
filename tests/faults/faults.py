"""What is done to a system, each undone again: processes, Redis, MongoDB, the network."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

import psutil
import redis
from pymongo.errors import PyMongoError

from changesource.mongo.source import APP_NAME
from tests.embedded.waiting import wait_until
from tests.faults.system import LEASE_SECONDS, System
from zerosources.embedded.project import ServeCommand, WatchChangesCommand
from zerosources.embedded.server import Server


class Fault:
    """`inject` does it and `heal` undoes it; both return at once, and `heal` is always called after `inject`.

    `hold_seconds` is how long it lasts.
    """

    name: str
    hold_seconds = 1.5

    def inject(self, system: System) -> None:
        raise NotImplementedError

    def heal(self, system: System) -> None:
        raise NotImplementedError


class KillWatcher(Fault):
    """SIGKILL of the leader, or of the one that stands by."""

    def __init__(self, *, is_leader: bool) -> None:
        self.name = f"{'leader' if is_leader else 'standby'} killed"
        self._is_leader = is_leader
        self._victim: WatchChangesCommand

    def inject(self, system: System) -> None:
        self._victim = watcher(system, is_leader=self._is_leader)
        self._victim.kill()

    def heal(self, system: System) -> None:
        self._victim.start(wait=False)


class PauseWatcher(Fault):
    """SIGSTOP of the leader, or of the one that stands by, for longer than the lease."""

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

    name = "leader stopped"

    def inject(self, system: System) -> None:
        self._victim = watcher(system, is_leader=True)
        self._victim.stop()
        assert self._victim.exit_status == 0, f"watch_changes ended with {self._victim.exit_status} after SIGTERM"

    def heal(self, system: System) -> None:
        self._victim.start(wait=False)


class EndServer(Fault):
    """The server that zero-cache is connected to is killed or stopped, and zero-cache comes back to the other one."""

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

    name = "server paused"
    hold_seconds = 3.0

    def inject(self, system: System) -> None:
        self._victim = system.connected_server
        pause(self._victim)

    def heal(self, system: System) -> None:
        resume(self._victim)


class KillZeroCache(Fault):
    name = "zero-cache killed"
    hold_seconds = 0.5

    def inject(self, system: System) -> None:
        system.zero_cache.kill()

    def heal(self, system: System) -> None:
        system.zero_cache.start(wait=False)


class PauseZeroCache(Fault):
    """SIGSTOP of all its processes."""

    name = "zero-cache paused"
    hold_seconds = 3.0

    def inject(self, system: System) -> None:
        pause(system.zero_cache)

    def heal(self, system: System) -> None:
        resume(system.zero_cache)


class RedisKilled(Fault):
    """It is away for a while and comes back empty."""

    name = "Redis killed"

    def inject(self, system: System) -> None:
        system.valkey.kill()

    def heal(self, system: System) -> None:
        system.valkey.start()


class RedisFlushed(Fault):
    name = "Redis flushed"
    hold_seconds = 0.0

    def inject(self, system: System) -> None:
        with redis.Redis.from_url(system.valkey.url) as connection:
            connection.flushall()

    def heal(self, system: System) -> None:
        """Nothing is left to undo."""


class RedisFull(Fault):
    """It refuses every write for want of memory."""

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

    def __init__(self, harm: str, *arguments: float) -> None:
        self.name = f"network of the stream: {harm}"
        self._harm = harm
        self._arguments = arguments

    def inject(self, system: System) -> None:
        getattr(system.stream_proxy, self._harm)(*self._arguments)

    def heal(self, system: System) -> None:
        system.stream_proxy.heal()


class MongoRestarted(Fault):
    """It is stopped, is away for a while and comes back with its data."""

    name = "MongoDB restarted"

    def inject(self, system: System) -> None:
        system.mongo.stop()

    def heal(self, system: System) -> None:
        system.mongo.start()


class CursorsKilled(Fault):
    """Every change stream and every scan that is open."""

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

    name = "server stopped in a transaction"
    hold_seconds = 0.0

    def __init__(self) -> None:
        self._end = EndServer(is_killed=False)

    def inject(self, system: System) -> None:
        system.stream_proxy.slow_down(0.05)
        documents = [{"_id": f"long-{number}", "body": "x" * 3_000} for number in range(3_000)]
        with system.deployment.client.start_session() as session, session.start_transaction():
            system.deployment.database.papers.insert_many(documents, session=session)
        wait_until(lambda: sent_of_a_transaction(system) > 20)
        self._end.inject(system)

    def heal(self, system: System) -> None:
        system.stream_proxy.heal()
        self._end.heal(system)
        system.deployment.database.papers.delete_many({"_id": {"$regex": "^long-"}})


class StopServerInSnapshot(Fault):
    """A zero-cache without a replica comes, and its server gets SIGTERM while it reads for the snapshot."""

    name = "server stopped in a snapshot"
    hold_seconds = 0.0

    def __init__(self) -> None:
        self._end = EndServer(is_killed=False)
        self._slow_scan = FailPoint("a scan slowly", "find", blockConnection=True, blockTimeMS=1_000)

    def inject(self, system: System) -> None:
        before = len(system.proxy.connections)
        self._slow_scan.inject(system)
        system.renew_zero_cache()
        wait_until(lambda: any(not connection.last_watermark for connection in system.proxy.connections[before:]))
        self._end.inject(system)

    def heal(self, system: System) -> None:
        """zero-cache has ended, as it does when its first snapshot breaks off, and counts on being started again."""
        self._slow_scan.heal(system)
        self._end.heal(system)
        wait_until(lambda: not system.zero_cache.is_running)
        system.zero_cache.start(wait=False)


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
        MongoRestarted(),
        CursorsKilled(),
        FailPoint("nothing", *READS, "update", "insert", closeConnection=True),
        FailPoint("CursorNotFound", "getMore", errorCode=43),
        FailPoint("NotWritablePrimary", *READS, "update", "insert", errorCode=10107),
        FailPoint("InterruptedDueToReplStateChange", *READS, errorCode=11602),
        StepDown(),
        StopServerInTransaction(),
        StopServerInSnapshot(),
    )
}
"""By name. Replies of Redis are waited for up to 5 seconds, so it is silent for longer."""


def watcher(system: System, *, is_leader: bool) -> WatchChangesCommand:
    """Another one where nobody leads, as after a fault."""
    leader = system.leading_watcher()
    return next((found for found in system.watchers if (found is leader) == is_leader), system.watchers[0])


def pause(server: Server) -> None:
    """SIGSTOP of a server and all its processes, which stand below its guard."""
    for process in processes(server):
        os.kill(process.pid, signal.SIGSTOP)


def resume(server: Server) -> None:
    for process in processes(server):
        os.kill(process.pid, signal.SIGCONT)


def processes(server: Server) -> list[psutil.Process]:
    root = psutil.Process(server.pid)
    return [root, *root.children(recursive=True)]


def sent_of_a_transaction(system: System) -> int:
    """How many frames of a transaction that has not ended zero-cache has been sent."""
    frames = system.proxy.connections[-1].frames
    last = next((n for n, frame in enumerate(reversed(frames)) if frame.startswith(('["begin"', '["commit"'))), None)
    return last if last is not None and frames[-1 - last].startswith('["begin"') else 0
