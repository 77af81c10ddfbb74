"""The whole system on this machine, with sample data, as `make run` starts it.

MongoDB's data and Django's database are kept for the next run; remove `.embedded/run/` to start over.
zero-cache and its PostgreSQL start empty each time, so each run shows an initial sync.
"""

import fcntl
import itertools
import json
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from zerosources.embedded import sample
from zerosources.embedded.log_follower import LogFollower
from zerosources.embedded.project import ServeCommand, WatchChangesCommand, manage, project_environment
from zerosources.embedded.server import Server, ServerError
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.zero_cache import ZeroCache

APP_ID = "sample"
DATABASE = "sample"
ADMIN_USER = "admin"

TICK_SECONDS = 0.2

Say = Callable[[str], None]
AnyServer = TypeVar("AnyServer", bound=Server)

ADMIN_SCRIPT = """
import os
from django.contrib.auth import get_user_model
user, _ = get_user_model().objects.get_or_create(username=os.environ["ADMIN_USER"])
user.is_staff = user.is_superuser = True
user.set_password(os.environ["ADMIN_PASSWORD"])
user.save()
"""


@dataclass(frozen=True)
class Secrets:
    """Secrets that the first run generates and later runs keep."""

    secret_key: str
    admin_password: str


@dataclass(frozen=True)
class System:
    """The running servers. A run ends when one of the `essential` servers ends."""

    essential: list[Server]
    serves: list[ServeCommand]
    zero_cache: ZeroCache


def run(data_dir: Path, *, redis: bool, seconds: float | None, say: Say) -> None:
    """Starts the whole system, reports each commit that zero-cache acknowledges, and stops everything in order at the end.

    Args:
        data_dir: The folder for all logs, and for what is kept between runs.
        redis: Whether to run a small production layout: the change log in Redis, a watcher and two stream servers.
        seconds: How long to run; None for no limit.
        say: Is called with each line for the user.

    Raises:
        KeyboardInterrupt: The process received SIGINT or SIGTERM.
        ServerError: A server did not start, or ended, or another run is using the folder.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with only_one(data_dir / "lock"):
        stack = ExitStack()
        try:
            system = start_system(stack, data_dir, redis=redis, say=say)
            follow(system, seconds, say)
        finally:
            # Another Ctrl-C must not interrupt this.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            try:
                say("Stopping …")
            finally:  # even if the output is no longer read, as in `make run | head`
                stack.close()


def start_system(stack: ExitStack, data_dir: Path, *, redis: bool, say: Say) -> System:
    """Starts the servers one after the other and reports their URLs. Closing `stack` stops them."""

    def start(server: AnyServer, *, wait: bool = True) -> AnyServer:
        say(f"Starting {server.name} …")
        stack.callback(server.stop)
        server.start(wait=wait)
        return server

    mongo = start(MongoServer(data_dir / "mongodb"))
    added = sample.load(mongo.uri(DATABASE))
    if added:
        say(f"Loaded {added:,} documents of sample data.")

    valkey = start(ValkeyServer(emptied(data_dir / "valkey"))) if redis else None
    kept = kept_secrets(data_dir / "secrets.json")
    environment = project_environment(
        data_dir / "django.sqlite3",
        mongodb_uri=mongo.uri(DATABASE),
        secret_key=kept.secret_key,
        redis_url=valkey.url if valkey else "",
    )
    say("Preparing Django …")
    token = prepare_project(environment, data_dir, kept.admin_password)

    watchers = [start(WatchChangesCommand(emptied(data_dir / "watcher"), environment=environment))] if redis else []
    serves = [
        start(ServeCommand(emptied(data_dir / name), environment=environment))
        for name in (["serve-1", "serve-2"] if redis else ["serve-1"])
    ]
    postgres = start(PostgresServer(emptied(data_dir / "postgres")))
    zero_cache = start(
        ZeroCache(
            emptied(data_dir / "zero-cache"),
            upstream_url=serves[0].stream_url(token),
            postgres=postgres,
            app_id=APP_ID,
            supervise=True,
        ),
        wait=False,
    )
    start_changes(stack, mongo.uri(DATABASE))

    for server in serves:
        say(f"Admin       {server.url}/admin/  user {ADMIN_USER}, password {kept.admin_password}")
        say(f"Stream      {server.stream_url(token)}")
    say(f"zero-cache  {zero_cache.url}")
    say(f"MongoDB     {mongo.uri(DATABASE)}")
    say(f"Logs        {data_dir}/*/*.log")
    essential = [mongo, *([valkey] if valkey else []), *watchers, *serves, postgres]
    return System(essential, serves, zero_cache)


def prepare_project(environment: dict[str, str], data_dir: Path, admin_password: str) -> str:
    """Brings Django's database up to date. Returns the token of a client of the sample app, which is new for each run."""
    manage(environment, "migrate", "--verbosity", "0")
    admin = {"ADMIN_USER": ADMIN_USER, "ADMIN_PASSWORD": admin_password}
    manage({**environment, **admin}, "shell", "--command", ADMIN_SCRIPT)
    # Only once: later edits in admin must not be lost.
    loaded = data_dir / "schema-loaded"
    if not loaded.exists():
        manage(environment, "load_schema", str(sample.SCHEMA_PATH), "--app", APP_ID, "--publish")
        loaded.touch()
    client = time.strftime("run-%Y%m%d-%H%M%S")
    return manage(environment, "create_client", client, "--app", APP_ID).splitlines()[-1]


def follow(system: System, seconds: float | None, say: Say) -> None:
    """Reports each acknowledged commit, and what happens to zero-cache, until the time is over.

    Raises:
        ServerError: One of the essential servers has ended.
    """
    ends_at = float("inf") if seconds is None else time.monotonic() + seconds
    logs = [LogFollower(server.log_path) for server in system.serves]
    events = zero_cache_events(system.zero_cache)
    while time.monotonic() < ends_at:
        for line in itertools.chain.from_iterable(log.new_lines() for log in logs):
            if commit := acknowledged_commit(line):
                say(commit)
        if event := next(events):
            say(event)
        for server in system.essential:
            server.check_running()
        time.sleep(TICK_SECONDS)


def acknowledged_commit(line: str) -> str | None:
    """Returns the time and the message of a log line of `manage.py serve` about an acknowledged commit, or None."""
    match line.split(" ", 4):
        case [_, clock, _, logger, message] if logger.startswith("changesource.") and message.startswith(
            "acknowledged "
        ):
            return f"{clock.partition(',')[0]}  {message}"
    return None


def zero_cache_events(zero_cache: ZeroCache) -> Iterator[str | None]:
    """Yields, without end, the news about zero-cache: that it has become ready, that it has ended, or None."""
    reported = 0
    is_ready = False
    while True:
        if len(zero_cache.exit_statuses) > reported:
            status = zero_cache.exit_statuses[reported]
            reported += 1
            is_ready = False
            yield f"zero-cache ended with status {status} and is started again. Its log: {zero_cache.log_path}"
        elif not is_ready and zero_cache.is_ready():
            is_ready = True
            yield "zero-cache has its replica and serves clients."
        else:
            yield None


def start_changes(stack: ExitStack, uri: str) -> None:
    """Keeps changing the sample, in a thread, until the stack is closed."""
    stop = threading.Event()
    thread = threading.Thread(target=sample.change_something, args=(uri, stop), name="changes")
    stack.callback(thread.join)
    stack.callback(stop.set)
    thread.start()


def kept_secrets(path: Path) -> Secrets:
    """Returns the secrets of earlier runs, or generates new ones and stores them."""
    if not path.exists():
        made = {"secret_key": secrets.token_urlsafe(50), "admin_password": secrets.token_urlsafe(12)}
        unfinished = path.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(made))
        unfinished.rename(path)
    return Secrets(**json.loads(path.read_text()))


def emptied(path: Path) -> Path:
    """Removes everything at `path`, and returns `path`."""
    if path.exists():
        shutil.rmtree(path)
    return path


@contextmanager
def only_one(lock_path: Path) -> Iterator[None]:
    """Prevents two runs on the same data.

    Raises:
        ServerError: Another process holds the lock.
    """
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(f"Another run is using {lock_path.parent}. Stop it first.") from None
        yield
