"""The whole system on this machine, with sample data: what `make run` does.

MongoDB's data and Django's database stay for the next run; remove `.embedded/run/` to start over.
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
    """What is made up once and kept for later runs."""

    secret_key: str
    admin_password: str


@dataclass(frozen=True)
class System:
    """What runs. `essential` are the servers without which there is no point in going on."""

    essential: list[Server]
    serves: list[ServeCommand]
    zero_cache: ZeroCache


def run(data_dir: Path, *, redis: bool, seconds: float | None, say: Say) -> None:
    """Start everything, say each commit that zero-cache acknowledges, and in the end stop everything in order.

    Args:
        data_dir: what is kept between runs, and all logs.
        redis: the production layout in small: the change log in Redis, a watcher and two stream servers.
        seconds: return after this time; go on for ever if None.
        say: takes each line for the user.

    Raises:
        KeyboardInterrupt: SIGINT or SIGTERM came in.
        ServerError: a server did not start, or ended, or another run is using the folder.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with only_one(data_dir / "lock"):
        stack = ExitStack()
        try:
            system = start_system(stack, data_dir, redis=redis, say=say)
            follow(system, seconds, say)
        finally:
            # One more Ctrl-C must not cut this short.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            try:
                say("Stopping …")
            finally:  # also where nobody reads any more, as in `make run | head`
                stack.close()


def start_system(stack: ExitStack, data_dir: Path, *, redis: bool, say: Say) -> System:
    """Start the servers one after the other and say where they are. Closing `stack` stops them."""

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
    """Bring Django's database up to date. Returns the token of a client of the sample app, a new one for each run."""
    manage(environment, "migrate", "--verbosity", "0")
    admin = {"ADMIN_USER": ADMIN_USER, "ADMIN_PASSWORD": admin_password}
    manage({**environment, **admin}, "shell", "--command", ADMIN_SCRIPT)
    # Once: what has been edited in admin since is not to be lost.
    loaded = data_dir / "schema-loaded"
    if not loaded.exists():
        manage(environment, "load_schema", str(sample.SCHEMA_PATH), "--app", APP_ID, "--publish")
        loaded.touch()
    client = time.strftime("run-%Y%m%d-%H%M%S")
    return manage(environment, "create_client", client, "--app", APP_ID).splitlines()[-1]


def follow(system: System, seconds: float | None, say: Say) -> None:
    """Say each acknowledged commit, and what becomes of zero-cache, until the time is over.

    Raises:
        ServerError: one of the essential servers has ended.
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
    """Time and message of a log line of `manage.py serve` about an acknowledged commit, None for other lines."""
    match line.split(" ", 4):
        case [_, clock, _, logger, message] if logger.startswith("changesource.") and message.startswith(
            "acknowledged "
        ):
            return f"{clock.partition(',')[0]}  {message}"
    return None


def zero_cache_events(zero_cache: ZeroCache) -> Iterator[str | None]:
    """What there is to say about zero-cache at each moment, for ever: when it becomes ready, when it has ended."""
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
    """Keep changing the sample, in a thread, until the stack is closed."""
    stop = threading.Event()
    thread = threading.Thread(target=sample.change_something, args=(uri, stop), name="changes")
    stack.callback(thread.join)
    stack.callback(stop.set)
    thread.start()


def kept_secrets(path: Path) -> Secrets:
    """The secrets of earlier runs, or new ones that are kept."""
    if not path.exists():
        made = {"secret_key": secrets.token_urlsafe(50), "admin_password": secrets.token_urlsafe(12)}
        unfinished = path.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(made))
        unfinished.rename(path)
    return Secrets(**json.loads(path.read_text()))


def emptied(path: Path) -> Path:
    """`path`, with nothing there."""
    if path.exists():
        shutil.rmtree(path)
    return path


@contextmanager
def only_one(lock_path: Path) -> Iterator[None]:
    """Refuse to run twice over the same data.

    Raises:
        ServerError: another process is in here.
    """
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(f"Another run is using {lock_path.parent}. Stop it first.") from None
        yield
