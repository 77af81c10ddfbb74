"""What a client of somebody else's can ask for, with a token that is good: replicas that it does not have, and snapshots
that it hardly reads."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlencode

from changesource.protocol.watermarks import Position, encode_lexi_version
from tests.e2e.deployment import replica_or_none, wait_until_not_none
from tests.e2e.raw_websocket import RawConnection, handshake
from tests.faults.fault import Fault, Part
from tests.faults.system import System
from tests.faults.tables import LONG, long_documents

STREAM_PATH = "/changes/v0/stream"
BURSTS = 3
AT_ONCE = 12
"""Connections. Fewer than a client may have, of which none would then be heard."""
ANSWER_SECONDS = 5.0

OWN_SHARD = 2_000_000

READERS = 8
"""Snapshots that are hardly read: more than an app may have at a time."""
READ_BYTES, READ_SECONDS = 256, 0.5
"""What is read of each, and how often."""
RECEIVE_BUFFER = 4096
SNAPSHOT_SECONDS = 100.0
"""How long the snapshot of another client may take meanwhile, on a busy machine. It takes some seconds, and more where there
are slow documents."""


class MadeUpReplicas(Fault):
    """Many connections at once, again and again, each with a replica that nobody has built, or with one that is real and was
    never where it says it is."""

    parts = frozenset({Part.STRANGER})
    name = "replicas made up"
    hold_seconds = 0.0

    def __init__(self) -> None:
        self._dice = random.Random(self.name)

    def inject(self, system: System) -> None:
        self._have_a_replica(system)
        for _ in range(BURSTS):
            with ExitStack() as connections:
                opened: list[RawConnection] = []
                for number in range(AT_ONCE):
                    with suppress(OSError):  # the server may be away
                        server = system.servers[number % len(system.servers)]
                        connection = connections.enter_context(RawConnection(server.port, timeout=ANSWER_SECONDS))
                        connection.send(handshake(self._target(system), authorization(system)))
                        opened.append(connection)
                for connection in opened:
                    with suppress(OSError, EOFError):
                        connection.response()
                        connection.message()

    def heal(self, system: System) -> None:
        """Nothing is left to undo."""

    def _have_a_replica(self, system: System) -> None:
        """One of the stranger's own, from a snapshot that is read to its end."""
        if OWN_SHARD in dict(system.replicas()):
            return
        with suppress(OSError), RawConnection(system.servers[0].port) as connection:
            system.snapshots_of_stranger += 1
            connection.send(handshake(target(system, OWN_SHARD), authorization(system)))
            connection.response()
            connection.closing()

    def _target(self, system: System) -> str:
        dice = self._dice
        genuine = system.replicas()
        own = dict(genuine).get(OWN_SHARD)
        if own is not None and dice.random() < 0.3:
            last = max(own, dice.choice(made_up_watermarks(dice)))
            return target(system, OWN_SHARD, lastWatermark=last, replicaVersion=own)
        shard_num, replica_version = dice.choice([*genuine, (0, encode_lexi_version(dice.randrange(1, 2**80)))])
        if dice.random() < 0.8:
            shard_num = dice.choice([dice.randrange(10), dice.randrange(1_000), dice.randrange(2**31)])
        if dice.random() < 0.7:
            replica_version = dice.choice(made_up_watermarks(dice))
        last_watermark = dice.choice([replica_version, *made_up_watermarks(dice)])
        if dice.random() < 0.8:  # one before the replica's version is refused at once
            replica_version, last_watermark = sorted([replica_version, last_watermark])
        return target(system, shard_num, lastWatermark=last_watermark, replicaVersion=replica_version)


class SlowReaders(Fault):
    """Snapshots that are hardly read, more of them than an app may have at a time, and then one of another client's."""

    # Nothing else may keep the snapshot from being there in time.
    parts = frozenset({*Part} - {Part.MARKERS})
    name = "snapshots hardly read"
    hold_seconds = 0.0

    def inject(self, system: System) -> None:
        system.deployment.database[LONG].insert_many(long_documents())
        with hardly_read(system):
            system.renew_zero_cache()
            try:
                wait_until_not_none(lambda: replica_or_none(system.zero_cache), SNAPSHOT_SECONDS)
            except AssertionError:
                raise AssertionError(
                    f"A zero-cache has had no snapshot for {SNAPSHOT_SECONDS:.0f} seconds, while another client has "
                    f"{READERS} that it hardly reads."
                ) from None

    def heal(self, system: System) -> None:
        system.deployment.database[LONG].delete_many({})


def made_up_watermarks(dice: random.Random) -> Sequence[str]:
    """Long ago, about now, far ahead, and anywhere."""
    now = int(time.time())
    return (
        Position(1).watermark,
        Position(now - 10**8 << 32 | 1).watermark,
        Position(now - dice.randrange(100) << 32 | dice.randrange(100), dice.randrange(2**16)).watermark,
        Position(now + dice.randrange(100) << 32 | 1).watermark,
        Position(now + 10**8 << 32 | 1).watermark,
        Position(2**64 - 1, 2**16 - 1).watermark,
        encode_lexi_version(dice.randrange(1, 2**80)),
        encode_lexi_version(dice.randrange(1, 2**40)),
    )


def target(system: System, shard_num: int, **resume: str) -> str:
    return f"{STREAM_PATH}?{urlencode({'appID': system.deployment.app_id, 'shardNum': shard_num, **resume})}"


def authorization(system: System) -> str:
    return f"Authorization: Bearer {system.stranger_token}\r\n"


@contextmanager
def hardly_read(system: System) -> Iterator[None]:
    """Snapshots for the stranger are under way meanwhile, and some bytes of each are read now and then."""
    ends = threading.Event()

    def read(connection: socket.socket) -> None:
        with suppress(OSError):
            while not ends.wait(READ_SECONDS) and connection.recv(READ_BYTES):
                continue

    with ExitStack() as stack:
        stack.callback(ends.set)
        threads = []
        for number in range(READERS):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            connection.connect(("127.0.0.1", system.servers[number % len(system.servers)].port))
            # One is complete where a drop of the database has left little to read.
            system.snapshots_of_stranger += 1
            connection.sendall(handshake(target(system, 1_000_000 + number), authorization(system)))
            threads.append(threading.Thread(target=read, args=(connection,), name="hardly-read"))
        for thread in threads:
            thread.start()
        yield
        ends.set()
        for thread in threads:
            thread.join(READ_SECONDS)
