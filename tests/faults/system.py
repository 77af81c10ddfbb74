"""What the oracle breaks: servers of its own, two watchers, two servers of the stream, one zero-cache."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

from changesource.mapping.rules.row_filter import RowFilter
from tests.e2e.deployment import Deployment, Rows
from tests.faults.tables import ATTRIBUTES, COLLECTIONS, MAPPINGS, ROW_FILTERS, SCHEMA
from tests.node.tools import ReplicaContents
from zerosources.embedded.servers import MongoServer, PostgresServer, ValkeyServer
from zerosources.embedded.zero_cache import ZeroCache

GRANT = """
import json
from changesource.models import Grant
for grant in Grant.objects.select_related("client"):
    grant.client.attributes = json.loads({attributes!r})
    grant.client.save()
    grant.row_filters = {row_filters!r}
    grant.save()
"""


class System:
    """As a context manager all of it runs, and a snapshot is under way."""

    def __init__(self, folder: Path) -> None:
        self._stack = ExitStack()
        self._folder = folder

    def __enter__(self) -> System:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def database(self) -> object:
        return self.deployment.database

    def expected_rows(self) -> Rows:
        """What the client may see of what the mappings give for the documents in MongoDB now."""
        rows = self.deployment.expected_rows()
        for table in self.deployment.definition.tables:
            if table.name in ROW_FILTERS:
                row_filter = RowFilter(table, ROW_FILTERS[table.name], ATTRIBUTES)
                rows[table.server_name] = [
                    row
                    for row in rows[table.server_name]
                    if row_filter.passes([row[name] for name in table.filter_columns])
                ]
        return rows

    def found_rows(self, contents: ReplicaContents) -> Rows:
        return self.deployment.comparable(contents.rows)

    def _start(self, stack: ExitStack) -> None:
        folder = self._folder
        self.mongo = stack.enter_context(MongoServer(folder / "mongodb", test_commands=True, sync_on_commit=True))
        self.valkey = stack.enter_context(ValkeyServer(folder / "valkey"))
        self.postgres = stack.enter_context(PostgresServer(folder / "postgres"))
        self.deployment = Deployment(
            stack, folder / "project", self.mongo, self.postgres, self.valkey, SCHEMA, MAPPINGS
        )
        self.deployment.manage(
            "shell",
            "-v",
            "0",
            "-c",
            GRANT.format(attributes=json.dumps(ATTRIBUTES), row_filters=json.dumps(ROW_FILTERS)),
        )
        for collection in COLLECTIONS:
            self.deployment.database[collection].insert_one({"_id": "first"})
        self.watchers = [self.deployment.watch(f"watcher-{number}") for number in (1, 2)]
        self.servers = [self.deployment.serve(f"serve-{number}") for number in (1, 2)]
        self.proxy = self.deployment.proxy(self.servers[0])
        self.zero_cache: ZeroCache = self.deployment.zero_cache(self.proxy)
