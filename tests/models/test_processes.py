"""Several processes on one Django DB, as in production: on SQLite and on PostgreSQL."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.embedded.django_database import make_postgresql, make_sqlite

pytestmark = pytest.mark.not_fast

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 4
DEADLINE_SECONDS = 120

SET_UP = """
import asyncio, gc, os, sys, time
gc.set_threshold(10_000, 50)  # as manage.py does
import django
django.setup()
from pathlib import Path
from changesource.tables.row_errors import RowError
from changesource.models import App, RowErrorRecord, Table, Version, queries
from tests.models.builders import build_app, publish

def wait_for(path):
    while not Path(path).exists():
        time.sleep(0.001)
"""


class Database:
    """A migrated database of its own, and processes that work on it."""

    def __init__(self, stack: ExitStack, url: str) -> None:
        self._stack = stack
        self.url = url

    def start(self, script: str, *args: str) -> subprocess.Popen[str]:
        """A Python process that runs `script`, with Django set up and `args` in `sys.argv`."""
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "zerosources.settings",
            "DATABASE_URL": self.url,
            "MONGODB_URI": "mongodb://localhost/shop",
            "SECRET_KEY": "for tests",
        }
        command = [sys.executable, "-c", SET_UP + textwrap.dedent(script), *args]
        process = self._stack.enter_context(
            subprocess.Popen(
                command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        )
        self._stack.callback(process.kill)  # nothing of a test that has failed stays behind
        return process

    def finish(self, process: subprocess.Popen[str]) -> str:
        """What the process printed, when it has ended well."""
        output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, errors
        return output

    def run(self, script: str, *args: str) -> str:
        return self.finish(self.start(script, *args))


@pytest.fixture
def postgresql(postgres_server) -> str:
    return make_postgresql(postgres_server)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack) -> Database:
    if request.param == "sqlite":
        make_sqlite(tmp_path / "db.sqlite3")
        return Database(stack, f"sqlite:///{tmp_path / 'db.sqlite3'}")
    return Database(stack, request.getfixturevalue("postgresql"))


def test_simultaneous_publishes_get_consecutive_numbers(database: Database, tmp_path: Path) -> None:
    """Processes that edit and publish one app at the same time get versions 1, 2, 3 … without a gap or an error."""
    database.run("build_app()")
    script = """
        wait_for(sys.argv[1])
        for turn in range(15):
            Table.objects.update(name=f"city_{os.getpid()}_{turn}", server_name="city", collection="city")
            publish(App.objects.get())
    """
    processes = [database.start(script, str(tmp_path / "go")) for _ in range(PROCESSES)]
    (tmp_path / "go").touch()
    for process in processes:
        database.finish(process)
    numbers = database.run("print(*Version.objects.order_by('number').values_list('number', flat=True))").split()
    assert [int(number) for number in numbers] == list(range(1, len(numbers) + 1))
    assert len(numbers) > 15


def test_simultaneous_row_errors_are_all_counted(database: Database, tmp_path: Path) -> None:
    """Counts of processes that report the same rows at the same time add up."""
    database.run("build_app()")
    script = """
        wait_for(sys.argv[1])
        errors = [RowError("city", str(n), "size", "is text") for n in range(10)]
        for turn in range(10):
            asyncio.run(queries.row_errors.record_row_errors("shop", errors))
    """
    processes = [database.start(script, str(tmp_path / "go")) for _ in range(PROCESSES)]
    (tmp_path / "go").touch()
    for process in processes:
        database.finish(process)
    counts = database.run("print(*RowErrorRecord.objects.values_list('count', flat=True))").split()
    assert counts == [str(10 * PROCESSES)] * 10


def test_a_lost_connection_is_replaced(stack: ExitStack, postgresql: str) -> None:
    """After the server ended a kept connection, at most one call fails."""
    database = Database(stack, f"{postgresql}?conn_max_age=600")
    output = database.run(
        """
        import psycopg
        from django.db import Error

        async def main():
            print(await queries.published.published_apps())
            with psycopg.connect(sys.argv[1], autocommit=True) as other:
                ended = other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid != pg_backend_pid()"
                )
                print(ended.rowcount)
            try:
                await queries.published.published_apps()
            except Error:
                pass
            print(await queries.published.published_apps())

        asyncio.run(main())
        """,
        postgresql,
    )
    assert output.split() == ["{}", "1", "{}"]
