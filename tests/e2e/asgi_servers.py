"""ASGI servers beside `manage.py serve`, each by its own command."""

import sys
from pathlib import Path

from zerosources.embedded.project import MANAGE, ServeCommand
from zerosources.embedded.server import HOST

APPLICATION = "zerosources.asgi:application"
ROOT = Path(__file__).resolve().parents[2]


class AsgiServer(ServeCommand):
    """On our application."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(ROOT)}


class DaphneCommand(AsgiServer):
    """With further options, if any."""

    name = "daphne"
    options: tuple[str, ...] = ()

    def command(self) -> list[str]:
        place = ["-b", HOST, "-p", str(self.port)]
        return [sys.executable, "-m", "daphne", *place, *self.options, APPLICATION]


class DaphneRunserver(AsgiServer):
    """The command that the app `daphne` puts in the place of Django's, without its reloader."""

    name = "runserver"

    def command(self) -> list[str]:
        return [sys.executable, str(MANAGE), "runserver", "--noreload", f"{HOST}:{self.port}"]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "DJANGO_SETTINGS_MODULE": "tests.e2e.settings_with_daphne"}


class Uvicorn(AsgiServer):
    name = "uvicorn"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "uvicorn", "--host", HOST, "--port", str(self.port), APPLICATION]
