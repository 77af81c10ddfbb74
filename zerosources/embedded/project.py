"""This Django project as embedded servers: `manage.py serve`, `manage.py watch_changes`, and other commands."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from zerosources.embedded.server import HOST, Server, ServerError, answers_http

MANAGE = Path(__file__).resolve().parent.parent.parent / "manage.py"

STREAM_PATH = "/changes/v0/stream"


def project_environment(
    database_path: Path, *, mongodb_uri: str, secret_key: str, redis_url: str = ""
) -> dict[str, str]:
    """Returns the environment variables of the project's processes: those of this process, and the settings.

    Args:
        database_path: The SQLite file of Django's own database.
        mongodb_uri: The URI of the default source.
        secret_key: Django's SECRET_KEY; the processes of one project share it.
        redis_url: The URL of Redis; empty to keep the change log in the process of `manage.py serve`.
    """
    return {
        **os.environ,
        # Tests have settings of their own, but these processes run with the real ones.
        "DJANGO_SETTINGS_MODULE": "zerosources.settings",
        "DEBUG": "1",
        # Overrides a .env for production.
        "TLS": "0",
        "SECRET_KEY": secret_key,
        "DATABASE_URL": f"sqlite:///{quote(str(database_path))}",
        "MONGODB_URI": mongodb_uri,
        "REDIS_URL": redis_url,
    }


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    """Runs a command of manage.py, and returns its output.

    Raises:
        ServerError: The command failed; the message holds its output.
    """
    done = subprocess.run(
        [sys.executable, str(MANAGE), *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        output = f"{done.stdout}{done.stderr}".strip()
        raise ServerError(f"manage.py {arguments[0]} ended with status {done.returncode}:\n{output}")
    return done.stdout


class ProjectServer(Server):
    """A command of manage.py that runs until it is stopped."""

    def __init__(self, data_dir: Path | str, *, environment: Mapping[str, str], port: int | None = None) -> None:
        super().__init__(data_dir, port=port)
        self._environment = dict(environment)

    def environment(self) -> dict[str, str]:
        return self._environment


class ServeCommand(ProjectServer):
    """`manage.py serve`: the change stream and Django admin."""

    name = "serve"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def stream_url(self, token: str) -> str:
        """Returns the URL to which zero-cache connects, with the client's token."""
        return f"ws://zero-cache:{quote(token, safe='')}@{HOST}:{self.port}{STREAM_PATH}"

    def command(self) -> list[str]:
        return [sys.executable, str(MANAGE), "serve", "--host", HOST, "--port", str(self.port)]

    def is_ready(self) -> bool:
        return answers_http(self.port, "/healthz")


class WatchChangesCommand(ProjectServer):
    """`manage.py watch_changes`: writes the change log in Redis."""

    name = "watch_changes"

    def command(self) -> list[str]:
        return [sys.executable, str(MANAGE), "watch_changes"]

    def is_ready(self) -> bool:
        """Whether it runs, which is all that can be seen from outside."""
        return self.is_running
