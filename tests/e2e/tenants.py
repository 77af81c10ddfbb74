"""Several clients of one app, each with its own tenant's rows: what they are given, what that shows, and who writes."""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from django.db import connections
from django.db.models import Model
from django.test.utils import override_settings
from pymongo.client_session import ClientSession
from pymongo.database import Database

from changesource.models import App, Client, Credential, Grant
from tests.e2e.deployment import Deployment, Rows, published_definition
from tests.e2e.recording_proxy import RecordingProxy, Transaction
from tests.models.builders import set_grant
from zerosources.embedded.project import ServeCommand
from zerosources.embedded.zero_cache import ZeroCache

SCHEMA: dict[str, Any] = {
    "tables": {
        "order": {
            "name": "order",
            "serverName": "orders",
            "columns": {
                "_id": {"type": "string"},
                "tenantId": {"type": "string", "optional": True},
                "text": {"type": "string", "optional": True},
                "n": {"type": "number", "optional": True},
            },
            "primaryKey": ["_id"],
        },
        "line": {
            "name": "line",
            "serverName": "lines",
            "columns": {
                "order": {"type": "string"},
                "sku": {"type": "string"},
                "tenantId": {"type": "string", "optional": True},
                "note": {"type": "string", "optional": True},
            },
            "primaryKey": ["order", "sku"],
        },
        "rate": {
            "name": "rate",
            "serverName": "rates",
            "columns": {"_id": {"type": "string"}, "n": {"type": "number", "optional": True}},
            "primaryKey": ["_id"],
        },
        "payroll": {
            "name": "payroll",
            "columns": {"_id": {"type": "string"}, "tenantId": {"type": "string", "optional": True}},
            "primaryKey": ["_id"],
        },
    },
    "relationships": {
        "order": {
            "wages": [
                {
                    "sourceField": ["tenantId"],
                    "destField": ["tenantId"],
                    "destSchema": "payroll",
                    "cardinality": "many",
                }
            ]
        }
    },
}
MAPPINGS = {
    "line": {
        "source": "orders",
        "pipeline": [
            {"$unwind": "$lines"},
            {"$set": {"order": "$_id", "sku": "$lines.sku", "note": "$lines.note"}},
            {"$project": {"_id": 0, "order": 1, "sku": 1, "note": 1, "tenantId": 1}},
        ],
    }
}
PERMISSIONS = {
    "order": {"select": [{"n": {"$gte": 0}}, {"$exists": {"relationship": "wages", "where": {"_id": "$auth.sub"}}}]},
    "payroll": {"select": [{}]},
}
FILTER_COLUMNS = {"order": ["tenantId", "n"], "line": ["tenantId"]}
PUBLICATIONS = {"mobile": ["order", "payroll"]}

A, B, NOBODY = "tenant-a", "tenant-b", "tenant-none"
"""The values of `tenantId`. Every value and key of a tenant's document has its name in it, but for the keys of documents
that move."""

IsShown = Callable[[Mapping[str, Any]], bool]


def everything(row: Mapping[str, Any]) -> bool:
    return True


def of(tenant: str) -> IsShown:
    return lambda row: row["tenantId"] == tenant


@dataclass(frozen=True)
class Given:
    """What a client is given, `tables` None for all, and what that is: the server name of a table → which rows it shows."""

    tables: tuple[str, ...] | None
    row_filters: Mapping[str, Any]
    attributes: Mapping[str, Any]
    shows: Mapping[str, IsShown]


OWN_FILTERS = {"order": {"tenantId": "$client.tenant"}, "line": {"tenantId": "$client.tenant"}}


def own_rows(tenant: str) -> Given:
    """All of a tenant's own, but for its payroll."""
    shows = {"orders": of(tenant), "lines": of(tenant), "rates": everything}
    return Given(("order", "line", "rate"), OWN_FILTERS, {"tenant": tenant}, shows)


def own_rows_below_50(tenant: str) -> Given:
    """Those of the orders, and all lines."""
    given = own_rows(tenant)
    below = {**OWN_FILTERS, "order": {"tenantId": "$client.tenant", "n": {"$lt": 50}}}

    def is_below(row: Mapping[str, Any]) -> bool:
        return bool(row["tenantId"] == tenant and row["n"] < 50)

    return replace(given, row_filters=below, shows={**given.shows, "orders": is_below})


def own_orders_and_payroll(tenant: str) -> Given:
    """No lines."""
    shows = {"orders": of(tenant), "rates": everything, "payroll": everything}
    return replace(own_rows(tenant), tables=("order", "rate", "payroll"), shows=shows)


def own_rows_and_payroll(tenant: str) -> Given:
    """By row filters over all tables, of which two are shared whole."""
    given = own_rows(tenant)
    filters = {**OWN_FILTERS, "rate": {}, "payroll": {}}
    return replace(given, tables=None, row_filters=filters, shows={**given.shows, "payroll": everything})


@dataclass
class Tenant:
    """A client of the app with a zero-cache of its own."""

    client: Client
    token: str
    given: Given
    proxy: RecordingProxy = field(init=False)
    zero_cache: ZeroCache = field(init=False)
    replica_version: str = ""

    @property
    def streamed(self) -> list[Transaction]:
        """What it was sent after its snapshot."""
        resumed = [connection for connection in self.proxy.connections if connection.last_watermark]
        return [transaction for connection in resumed for transaction in connection.transactions()]


class Tenants:
    """A deployment whose clients are edited as admin does it. `servers` share one change log."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.app = App.objects.get(app_id=deployment.app_id)
        for name, columns in FILTER_COLUMNS.items():
            self.app.tables.filter(name=name).update(filter_columns=columns)
        App.objects.filter(pk=self.app.pk).update(publications=PUBLICATIONS)
        self.publish()
        deployment.watch()
        self.servers = [deployment.serve("first"), deployment.serve("second")]

    def client(self, name: str, given: Given) -> Tenant:
        """A new client with one credential."""
        client = Client.objects.create_for_apps(name, [self.app])
        _, token = Credential.objects.issue(client)
        tenant = Tenant(client, token, given)
        self.give(tenant, given)
        return tenant

    def grant(self, tenant: Tenant) -> Grant:
        return Grant.objects.get(client=tenant.client, app=self.app)

    def give(self, tenant: Tenant, given: Given) -> None:
        """From now on `tenant` may read what `given` says, and nothing else."""
        tenant.given = given
        Client.objects.filter(pk=tenant.client.pk).update(attributes=given.attributes)
        set_grant(
            tenant.client,
            all_tables=given.tables is None,
            tables=list(given.tables or ()),
            row_filters=json.dumps(given.row_filters),
        )

    def begin_zero_cache(self, tenant: Tenant, server: ServeCommand, **environment: str) -> None:
        deployment = self.deployment
        tenant.proxy = deployment.stack.enter_context(RecordingProxy(server.stream_url(tenant.token)))
        tenant.zero_cache = ZeroCache(
            deployment.folder / f"zero-cache-of-{tenant.client}",
            upstream_url=tenant.proxy.stream_url(),
            postgres=deployment.postgres,
            app_id=deployment.app_id,
            env=environment,
        )
        deployment.stack.callback(tenant.zero_cache.stop)
        tenant.zero_cache.start(wait=False)

    def expected_rows(self, tenant: Tenant) -> Rows:
        rows = self.deployment.expected_rows()
        return {table: [row for row in rows[table] if shows(row)] for table, shows in tenant.given.shows.items()}

    def wait_until_equal(self, *tenants: Tenant) -> None:
        """Waits until the replica of each holds what it is given of what MongoDB holds, and no other table; it is still the
        replica that it was. Nothing may be writing any more."""
        for tenant in tenants:
            contents = self.deployment.wait_until_equal(tenant.zero_cache, expected=self.expected_rows(tenant))
            assert contents.replica_version == (tenant.replica_version or contents.replica_version)
            tenant.replica_version = contents.replica_version

    def add_column(self, name: str) -> None:
        """Adds a column of orders to the draft, which no document has a value for."""
        orders = self.app.tables.get(name="order")
        orders.columns.create(name=name, type="string", optional=True, position=orders.columns.count())
        schema = json.loads(json.dumps(SCHEMA))
        schema["tables"]["order"]["columns"][name] = {"type": "string", "optional": True}
        self.deployment.definition = published_definition(schema, MAPPINGS, self.deployment.app_id)

    def publish(self) -> None:
        self.deployment.manage("publish", self.deployment.app_id)


class Writer:
    """Writes documents of both tenants, and of nobody, and moves some between them; `owners` are all that each has had."""

    def __init__(self, database: Database[dict[str, Any]], seed: int) -> None:
        self.owners: dict[str, set[str]] = {}
        self._database = database
        self._random = random.Random(seed)
        self._numbers = count()

    def write(self, writes: int) -> None:
        for _ in range(writes):
            if self._random.random() < 0.25:
                with self._database.client.start_session() as session, session.start_transaction():
                    for _ in range(self._random.randint(2, 5)):
                        self._write(session)
            else:
                self._write(None)

    def content(self, key: str, tenant: str) -> dict[str, Any]:
        """A document's fields. It is `tenant`'s from now on."""
        self.owners.setdefault(key, set()).add(tenant)
        mark = f"{tenant} {next(self._numbers)}"
        skus = ["any", *(f"{tenant}-{n}" for n in range(self._random.randint(0, 3)))]
        return {
            "tenantId": tenant,
            "text": mark,
            "n": self._random.randrange(100),
            "lines": [{"sku": sku, "note": mark} for sku in skus],
        }

    def _write(self, session: ClientSession | None) -> None:
        orders = self._database["orders"]
        key, tenant = self._pick()
        one = {"_id": key}
        match self._random.randrange(9):
            case 0 | 1 | 2:
                orders.replace_one(one, self.content(key, tenant), upsert=True, session=session)
            case 3 | 4:
                orders.update_one(one, {"$set": self.content(key, tenant)}, session=session)
            case 5:
                orders.update_one(one, {"$inc": {"n": 1}, "$pop": {"lines": 1}}, session=session)
            case 6:  # several owners in one transaction, or in one batch
                for each in (tenant, B, A):
                    orders.update_one({"_id": "moving-0"}, {"$set": self.content("moving-0", each)}, session=session)
            case 7:
                orders.delete_one(one, session=session)
            case 8:
                self._database["rates"].replace_one({"_id": "any"}, {"n": next(self._numbers)}, session=session)
                self._database["payroll"].insert_one({"tenantId": "payroll"}, session=session)

    def _pick(self) -> tuple[str, str]:
        """A key, and whose it may be from now on."""
        tenant = self._random.choice([A, A, A, B, B, B, NOBODY])
        number = self._random.randrange(12)
        return (f"moving-{number}" if self._random.random() < 0.6 else f"{tenant}-{number}"), tenant


@contextmanager
def tenants_of(deployment: Deployment) -> Iterator[Tenants]:
    """The deployment's clients; meanwhile models are those of its Django database."""
    path = deployment.folder / "django.sqlite3"
    with _models_in(path):
        yield Tenants(deployment)


class DeploymentRouter:
    """Every model is in the deployment's database."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str:
        return DATABASE

    db_for_write = db_for_read

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        return True


DATABASE = "deployment"


@contextmanager
def _models_in(path: Path) -> Iterator[None]:
    options = {"timeout": 20, "transaction_mode": "IMMEDIATE"}
    connections.databases[DATABASE] = {**connections.databases["default"], "NAME": path, "OPTIONS": options}
    try:
        with override_settings(DATABASE_ROUTERS=[f"{__name__}.{DeploymentRouter.__name__}"]):
            yield
    finally:
        connections[DATABASE].close()
        del connections[DATABASE], connections.databases[DATABASE]
