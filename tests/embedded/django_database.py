"""Django's database and what is in it, set up with as few processes as that can be."""

import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql

from zerosources.embedded.project import MANAGE, manage, project_environment
from zerosources.embedded.server import ServerError
from zerosources.embedded.servers import PostgresServer

COMMANDS = """
import gc, io, json, sys
from contextlib import redirect_stderr, redirect_stdout

gc.set_threshold(10_000, 50)  # as manage.py does

from django.core.management import execute_from_command_line

for line in sys.stdin:
    said, complained, status = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(said), redirect_stderr(complained):
        try:
            execute_from_command_line(["manage.py", *json.loads(line)])
        except SystemExit as ended:
            status = ended.code or 0
    print(json.dumps([status, said.getvalue(), complained.getvalue()]), flush=True)
"""


class Management:
    """Runs commands of manage.py in one process, since starting Django takes longer than most of them. It begins with
    the first command, and again with one that has another environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._started_with: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str) -> str:
        """What the command has printed. Raises `ServerError` as `project.manage` does."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{json.dumps(arguments)}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise ServerError(f"manage.py {arguments[0]} ended its process with status {process.wait()}.")
        status, said, complained = json.loads(answer)
        if status:
            output = f"{said}{complained}".strip()
            raise ServerError(f"manage.py {arguments[0]} ended with status {status}:\n{output}")
        return str(said)

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate()  # it ends with its stdin

    def _running(self) -> subprocess.Popen[str]:
        wanted = dict(self.environment)
        if self._process is None or wanted != self._started_with or self._process.poll() is not None:
            self.close()
            self._started_with = wanted
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMANDS],
                cwd=MANAGE.parent,
                env=wanted,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        return self._process


def make_postgresql(server: PostgresServer) -> str:
    """The URL of a new, migrated database."""
    name = f"django_{uuid.uuid4().hex}"
    template = _template(server)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    return server.uri(name)


@cache
def _template(server: PostgresServer) -> str:
    """The name of a migrated database of this server, to which nobody connects."""
    name = "migrated"
    environment = project_environment(Path(), mongodb_uri="", secret_key="for tests only")
    manage({**environment, "DATABASE_URL": server.create_database(name)}, "migrate", "--verbosity", "0")
    return name


def make_sqlite(path: Path) -> None:
    """A migrated database in a new file."""
    path.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    """The file of a migrated database. All tests of this process have copies of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "django.sqlite3"
        manage(project_environment(path, mongodb_uri="", secret_key="for tests only"), "migrate", "--verbosity", "0")
        assert [found.name for found in path.parent.iterdir()] == [path.name], "The database is in more than one file."
        return path.read_bytes()
