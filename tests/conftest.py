"""Servers that tests share. They keep apart by using databases and key prefixes of their own."""

import atexit
import gc
import os
import shutil
import signal
import sys
import time
from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest
from django.conf import settings
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker
from xdist.remote import Producer

from tests.emptying import Emptying
from tests.examples import IS_FAST, load_profile
from tests.given_mongodb import EMBEDDED, GivenMongo, given_mongo, given_uri, hosts_of
from tests.scheduling import Scheduling, place_of
from zerosources.embedded import EMBEDDED_DIR
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer

RUNS_DIR = EMBEDDED_DIR / "tests"
TESTS_OF_EMBEDDED = Path(__file__).parent / "embedded"

# Each may take a hundred megabytes.
KEPT_RUNS = 3


def pytest_configure() -> None:
    """Loads the number of examples. A shell has its background jobs ignore SIGINT, and so would all that the tests start and
    interrupt. When a process ends, Python looks for garbage in everything once more, for seconds, and there is nothing to
    find any more."""
    load_profile()
    atexit.register(gc.freeze)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_report_header() -> list[str]:
    return [f"MongoDB: given, {hosts_of(given_uri())}"] if given_uri() else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has logged goes from process to process as UTF-8, which knows no lone surrogate."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The fast lane leaves out all that starts servers. On another database server, only the tests that ask the Django
    database are run again. With a MongoDB that is given, what is about the embedded servers is skipped."""
    for item in items if given_uri() else []:
        if TESTS_OF_EMBEDDED in item.path.parents or item.get_closest_marker("embedded_mongodb"):
            item.add_marker(pytest.mark.skip(f"{EMBEDDED}, and MONGODB is given"))
    chosen = list(items)
    if IS_FAST:
        chosen = [item for item in chosen if not is_slow(item)]
    if not settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        chosen = [item for item in chosen if item.get_closest_marker("django_db") or "db" in fixtures_of(item)]
    left_out = set(items).difference(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = sorted(chosen, key=lambda item: place_of(item.path))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is imported and collected stays. Python examined it for garbage time after time, for half a second each."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    """Pytest now looks for resources in garbage that were not closed."""
    gc.unfreeze()


def pytest_collection_finish() -> None:
    """Pytest reads which version of Twisted is installed before each test once `twisted.internet.testing`, which tests use,
    has imported this module. It needs that only for tests that this module runs, and there are none."""
    sys.modules.pop("twisted.trial.unittest", None)


def is_slow(item: pytest.Item) -> bool:
    """Whether it says so, or asks for a server: all fixtures that are servers begin with a folder for the run."""
    return item.get_closest_marker("not_fast") is not None or "run_dir" in fixtures_of(item)


def fixtures_of(item: pytest.Item) -> Collection[str]:
    names: Collection[str] = getattr(item, "fixturenames", ())
    return names


@pytest.fixture(scope="session")
def run_dir(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for this run's servers and their logs. It is kept if a test has failed, until later ones have."""
    if IS_FAST:
        pytest.skip("make test-fast starts no servers")
    path = RUNS_DIR / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    path.mkdir(parents=True)
    ended = [run for run in sorted(RUNS_DIR.iterdir()) if not psutil.pid_exists(int(run.name.rpartition("-")[2]))]
    for run in ended[:-KEPT_RUNS]:
        # Another run may be doing the same.
        shutil.rmtree(run, ignore_errors=True)
    yield path
    if not request.session.testsfailed:
        shutil.rmtree(path)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The database of pytest-django, which is emptied in our way after tests that commit."""
    with django_db_blocker.unblock():
        emptying = Emptying()
    with patch.object(TransactionTestCase, "_fixture_teardown", lambda test: emptying(test)):
        yield


@pytest.fixture(scope="session", autouse=True)
def given() -> Iterator[GivenMongo | None]:
    """The MongoDB that `make test MONGODB=…` names, None where it names none."""
    with given_mongo() as found:
        yield found


@pytest.fixture(scope="module")
def mongo_server(
    run_dir: Path, request: pytest.FixtureRequest, given: GivenMongo | None
) -> Iterator[MongoServer | GivenMongo]:
    """One MongoDB replica set for a file of tests, with fail points. Not for tests that stop it.

    It reads its whole oplog whenever a stream is opened, for seconds after some ten thousand writes: so those of other files
    are not in it. If a MongoDB is given, it is that one.
    """
    if given is not None:
        yield given
        return
    with MongoServer(run_dir / f"mongodb-{request.module.__name__}", test_commands=True) as server:
        yield server
        server.kill()  # it would take two seconds to end, and more to write what nobody wants


@pytest.fixture(scope="session")
def valkey_server(run_dir: Path) -> Iterator[ValkeyServer]:
    """One Valkey for the run. Not for tests that stop or flush it."""
    with ValkeyServer(run_dir / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(run_dir: Path) -> Iterator[PostgresServer]:
    """One PostgreSQL for the run. Not for tests that stop it."""
    with PostgresServer(run_dir / "postgres") as server:
        yield server
