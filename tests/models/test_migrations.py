"""Migrations that move data."""

import pytest
from asgiref.sync import async_to_sync
from django.apps.registry import Apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from changesource.authentication.tokens import authenticate
from changesource.models import AccessVersion, App, AwaitedReplica, Client, Grant, Replica
from changesource.models.credential import digest_of

pytestmark = pytest.mark.django_db(transaction=True)


def migrated(name: str | None) -> Apps:
    """The models after migrating to the migration with this name; None for the newest."""
    executor = MigrationExecutor(connection)
    newest = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "changesource"]
    target = newest if name is None else [("changesource", name)]
    return executor.migrate(target).apps


def test_tokens_of_before() -> None:
    """A client with its one token of before has a credential that the token opens, and may read what it could."""
    try:
        before = migrated("0004_table_permissions")
        app = before.get_model("changesource", "App").objects.create(app_id="shop")
        client = before.get_model("changesource", "Client").objects.create(
            name="cache", token_digest=digest_of("a token of before")
        )
        client.apps.add(app)
    finally:
        migrated(None)
    identity = async_to_sync(authenticate)("a token of before")
    assert identity.name == "cache"
    grant = Client.objects.get().grants.get()
    assert grant.app.app_id == "shop"
    assert AccessVersion.objects.get().access == grant.access()


def test_grants_of_an_earlier_release_get_origins() -> None:
    """The names in grants mean the tables that stream. What stays to be said is which tables row filters no longer show."""
    try:
        before = migrated("0008_source_identity")
        app = before.get_model("changesource", "App").objects.create(app_id="shop")
        tables = [{"name": name, "collection": f"{name}s"} for name in ("order", "item")]
        for number, source in enumerate(["former", "default"], 1):
            before.get_model("changesource", "Version").objects.create(
                app=app,
                number=number,
                definition={"source": source, "tables": tables},
                nonce=source,
                cluster_time=number,
            )
        grants = {
            "all": {},
            "filtered": {"row_filters": '{"order": {}, "gone": {}}'},
            "chosen": {"all_tables": False, "tables": ["item"], "row_filters": '{"order": {}}'},
            "unreadable": {"row_filters": "["},
        }
        for name, values in grants.items():
            client = before.get_model("changesource", "Client").objects.create(name=name)
            before.get_model("changesource", "Grant").objects.create(client=client, app=app, **values)
    finally:
        migrated(None)
    found = {grant.client.name: grant.access()["tables"] for grant in Grant.objects.select_related("client")}
    assert found == {
        "all": None,
        "filtered": {"order": "default.orders"},
        "chosen": {"item": "default.items"},
        "unreadable": {},
    }


def test_watermarks_that_clients_made_up_are_removed() -> None:
    """Those that were awaited and never registered are forgotten, and so are watermarks that nobody had looked at."""
    try:
        before = migrated("0008_source_identity")
        app = before.get_model("changesource", "App").objects.create(app_id="shop")
        client = before.get_model("changesource", "Client").objects.create(name="cache")
        now = timezone.now()
        for shard_num in (0, 1):
            before.get_model("changesource", "AwaitedReplica").objects.create(
                app=app, client=client, shard_num=shard_num, watermark="zzz", reason="lost", is_fault=True, told_at=now
            )
        before.get_model("changesource", "Replica").objects.create(
            app=app,
            client=client,
            replica_version="5a",
            snapshot_end="5a",
            shard_num=1,
            version_number=1,
            last_seen_at=now,
        )
    finally:
        migrated(None)
    awaited = AwaitedReplica.objects.get()
    assert (awaited.shard_num, awaited.watermark, awaited.is_fault) == (1, "", True)


def test_processes_of_the_former_release_work_on_while_others_are_upgraded() -> None:
    """They register replicas and create apps in the new database, without the columns that they do not know."""
    executor = MigrationExecutor(connection)
    former = executor.loader.project_state([("changesource", "0012_help_texts")]).apps
    app = former.get_model("changesource", "App").objects.create(app_id="shop")
    former.get_model("changesource", "Replica").objects.create(
        app=app, replica_version="5a", snapshot_end="5a", shard_num=1, version_number=1, last_seen_at=timezone.now()
    )
    assert App.objects.get().queries == {}
    assert Replica.objects.get().publications == []
