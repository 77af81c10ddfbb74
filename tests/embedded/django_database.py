"""Django's database and what is in it, set up with as few processes as that can be."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from zerosources.embedded.project import MANAGE, manage, project_environment

COMMANDS_IN_TURN = """
import json, sys
from django.core.management import execute_from_command_line

for arguments in json.loads(sys.argv[1]):
    execute_from_command_line(["manage.py", *arguments])
"""


def make_sqlite(path: Path) -> None:
    """A migrated database in a new file."""
    path.write_bytes(_migrated())


def manage_in_turn(environment: Mapping[str, str], commands: Sequence[Sequence[str]]) -> str:
    """Runs commands of manage.py in one process, since starting Django takes longer than most of them. Returns what they have
    printed."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS_IN_TURN, json.dumps(commands)],
        cwd=MANAGE.parent,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


@cache
def _migrated() -> bytes:
    """The file of a migrated database. All tests of this process have copies of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "django.sqlite3"
        manage(project_environment(path, mongodb_uri="", secret_key="for tests only"), "migrate", "--verbosity", "0")
        assert [found.name for found in path.parent.iterdir()] == [path.name], "The database is in more than one file."
        return path.read_bytes()
