"""The project as people use it: `manage.py serve` with its own databases, and who may log in."""

from __future__ import annotations

import json
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pymongo
from pymongo.database import Database

from tests.embedded.django_database import Management, make_sqlite
from zerosources.embedded.project import ServeCommand, project_environment
from zerosources.embedded.servers import MongoServer

PASSWORD = "correct horse battery staple"


class Site:
    """Runs until `stack` ends. `database` is the one that its source `default` names."""

    def __init__(self, stack: ExitStack, folder: Path, mongo: MongoServer) -> None:
        name = f"site_{uuid.uuid4().hex[:10]}"
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(mongo.uri(name))
        stack.callback(client.close)
        self.database: Database[dict[str, Any]] = client.get_default_database()
        folder.mkdir(parents=True)
        self._folder = folder
        self.environment = {
            **project_environment(folder / "django.sqlite3", mongodb_uri=mongo.uri(name), secret_key="for tests only"),
            # Development shows tracebacks and is lenient about hosts; people see the other one.
            "DEBUG": "0",
            "ALLOWED_HOSTS": "127.0.0.1",
            # One address and two users are everybody here.
            **dict.fromkeys(("REQUESTS_PER_ADDRESS", "LOGINS_PER_ADDRESS", "LOGINS_PER_USER"), "0"),
        }
        make_sqlite(folder / "django.sqlite3")
        self.environment["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
        self._management = Management(self.environment)
        stack.callback(self._management.close)
        for user in ("ada", "grace"):
            self.manage("createsuperuser", "--noinput", "--username", user, "--email", f"{user}@example.org")
        server = ServeCommand(folder / "serve", environment=self.environment)
        stack.callback(server.stop)
        server.start()
        self.url = server.url

    def manage(self, *arguments: str) -> str:
        return self._management.run(*arguments)

    def load(
        self, app_id: str, tables: dict[str, Any], relationships: Any = None, *, publish: bool = False, **files: Any
    ) -> None:
        """Make `tables`, in the JSON form of Zero's schema, the draft of an app. `files` are those that `load_schema`
        takes by the options of their names."""
        written = {"schema": {"tables": tables, "relationships": relationships or {}}, **files}
        paths = {name: self._folder / f"{app_id}.{name}.json" for name in written}
        for name, path in paths.items():
            path.write_text(json.dumps(written[name]))
        options = [each for name in files for each in (f"--{name}", str(paths[name]))]
        publishing = ["--publish"] if publish else []
        self.manage("load_schema", str(paths["schema"]), "--app", app_id, *options, *publishing)
