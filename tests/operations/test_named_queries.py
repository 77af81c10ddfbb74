"""What a deployment is answered: the names and rules of the version in force, as far as its replicas can run them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from changesource.errors import DeploymentRefused
from changesource.models import App, Client, Column, Replica, Version
from changesource.models.queries.access import ClientInApp, begin_access, read_entitlements
from changesource.models.queries.clients import Identity
from changesource.models.queries.replicas import RECENT, ReplicaRecord, register_replica
from changesource.operations import named_queries
from changesource.operations.named_queries import Deployment, answer_queries, counters, deployment_of
from changesource.protocol.transforms import QueryRequest
from changesource.protocol.watermarks import Position
from changesource.publishing.versions import begin_publish
from changesource.queries import Caller
from changesource.queries.restriction import NO_ROW
from changesource.queries.transform import Transformer
from tests.models.builders import build_app, build_table, publish, set_grant

pytestmark = pytest.mark.django_db(transaction=True)

EVERYONE = '{"select": [{}]}'


@pytest.fixture(autouse=True)
def source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def app() -> App:
    """Two tables, each with a query of its own, published."""
    app = build_app()
    app.tables.update(permissions=EVERYONE)
    build_table(app, "town", {"_id": {}, "size": {"type": "number", "optional": True}}, permissions=EVERYONE)
    app.queries = {"cities": {"table": "city"}, "towns": {"table": "town"}}
    app.save()
    publish(app)
    return app


@pytest.fixture
def deployment(app: App) -> Deployment:
    client = Client.objects.create_for_apps("cache", [app])
    credential, _ = client.credentials.model.objects.issue(client)
    begin_access.blocking(ClientInApp(client.pk, "shop"))
    return Deployment(Identity(client.pk, "cache", credential.pk), "shop", 0)


def answers(deployment: Deployment, *names: str, caller: Caller | None = None) -> list[dict[str, Any]]:
    requests = [QueryRequest(str(number), name, None) for number, name in enumerate(names)]
    return answer_queries(deployment, requests, caller or Caller(), time.monotonic())


def answered(deployment: Deployment, *names: str) -> list[bool]:
    """Which of the queries have an AST."""
    return ["ast" in answer for answer in answers(deployment, *names)]


def register(deployment: Deployment, *, seconds: int = 1, version: int = 1, **values: Any) -> ReplicaRecord:
    """A replica that has come to this cluster time."""
    watermark = Position(seconds << 32 | 9).watermark
    record = ReplicaRecord(
        "shop", deployment.shard_num, watermark, watermark, version, deployment.identity.client_id, 1, "", watermark
    )
    record = replace(record, **values)
    register_replica.blocking(record)
    return record


def drop(app: App, table: str) -> None:
    app.tables.get(name=table).delete()
    app.queries = {name: query for name, query in app.queries.items() if query["table"] != table}
    app.save()


def test_a_deployment_without_a_replica_is_answered_by_the_version_in_force(deployment: Deployment) -> None:
    city, unknown = answers(deployment, "cities", "citys")
    assert city == {"id": "0", "name": "cities", "ast": {"table": "city"}}
    assert unknown["message"] == "Query not found: citys. Did you mean cities?"


def test_what_a_replica_does_not_have_yet_is_refused(app: App, deployment: Deployment) -> None:
    """A table and a column of the version in force, until the replica has acknowledged their publish."""
    replica = register(deployment)
    build_table(app, "village", {"_id": {}}, permissions=EVERYONE)
    Column.objects.create(table=app.tables.get(name="city"), name="mayor", optional=True, position=9)
    app.queries |= {"villages": {"table": "village"}, "mayors": {"table": "city", "where": {"mayor": "Ada"}}}
    app.save()
    publish(app)
    early = answers(deployment, "cities", "villages", "mayors")
    assert ["ast" in answer for answer in early] == [True, False, False]
    assert early[1]["details"] == {"type": "NotYetInReplica"}
    Replica.objects.filter(replica_version=replica.replica_version).update(acknowledged=Position(2 << 32, 9).watermark)
    assert answered(deployment, "cities", "villages", "mayors") == [True, False, False]
    Replica.objects.filter(replica_version=replica.replica_version).update(acknowledged=Position(3 << 32).watermark)
    assert answered(deployment, "cities", "villages", "mayors") == [True, True, True]


def test_what_a_publish_under_way_takes_away_is_refused_before_it_takes_place(app: App, deployment: Deployment) -> None:
    """Even from a replica that has it: zero-cache keeps answers for some seconds."""
    register(deployment)
    assert answered(deployment, "cities", "towns") == [True, True]
    drop(app, "town")
    pending = begin_publish(app)
    assert pending.cluster_time is None
    assert answered(deployment, "cities", "towns") == [True, False]
    Version.objects.abandon(pending.nonce)
    assert answered(deployment, "cities", "towns") == [True, True]


def test_only_replicas_in_use_count(app: App, deployment: Deployment) -> None:
    """Not one that was last seen a while before another one, nor one of another shard or of a time before the app started
    over."""
    long_ago = timezone.now() - 2 * RECENT
    register(deployment, seconds=1)
    Replica.objects.update(last_seen_at=long_ago)
    register(replace(deployment, shard_num=5), seconds=1)
    build_table(app, "village", {"_id": {}}, permissions=EVERYONE)
    app.queries |= {"villages": {"table": "village"}}
    app.save()
    publish(app)
    register(deployment, seconds=9, version=2)
    assert answered(deployment, "villages") == [True]
    assert answered(replace(deployment, shard_num=5), "villages") == [False]
    begin_publish(app, resets=True)
    begin_access.blocking(ClientInApp(deployment.identity.client_id, "shop"), without_marker=True)
    assert answered(replace(deployment, shard_num=5), "villages") == [True]


def test_the_last_replica_counts_even_if_its_stream_has_been_silent_for_long(app: App, deployment: Deployment) -> None:
    """As it is while a transition loads a large table. A table that comes with it would stop the client group."""
    register(deployment, seconds=1)
    build_table(app, "village", {"_id": {}}, permissions=EVERYONE)
    app.queries |= {"villages": {"table": "village"}}
    app.save()
    publish(app)
    Replica.objects.update(last_seen_at=timezone.now() - 100 * RECENT)
    assert answered(deployment, "cities", "villages") == [True, False]


def test_the_grant_and_the_publications_decide_which_tables_there_are(app: App, deployment: Deployment) -> None:
    """A table that the client may not read, or did not ask for, is like one that is not there."""
    client = Client.objects.get()
    set_grant(client, all_tables=False, tables=["town"])
    assert answered(deployment, "cities", "towns") == [False, True]
    set_grant(client, all_tables=True, tables=[])
    app.publications = {"small": ["town"]}
    app.save()
    publish(app)
    register(deployment, seconds=5, version=2, publications=("small",))
    assert answered(deployment, "cities", "towns") == [False, True]


@pytest.mark.parametrize("change", ["revoked", "switched off", "no grant", "other shard", "other app"])
def test_a_deployment_that_may_not_have_the_app_is_refused(app: App, deployment: Deployment, change: str) -> None:
    """At once, whatever it was answered before."""
    assert answered(deployment, "cities") == [True]
    client = Client.objects.get()
    match change:
        case "revoked":
            client.credentials.get().revoke()
        case "switched off":
            Client.objects.update(is_active=False)
        case "no grant":
            client.grants.all().delete()
        case "other shard":
            set_grant(client, shards="1, 2")
        case "other app":
            deployment = replace(deployment, app_id="other")
    with pytest.raises(DeploymentRefused):
        answers(deployment, "cities")


def test_an_unpublished_app_is_refused() -> None:
    app = build_app()
    client = Client.objects.create_for_apps("cache", [app])
    credential, _ = client.credentials.model.objects.issue(client)
    with pytest.raises(DeploymentRefused, match="no published version"):
        answers(Deployment(Identity(client.pk, "cache", credential.pk), "shop", 0), "cities")


def test_rules_are_those_of_the_version_in_force_and_of_the_caller(app: App, deployment: Deployment) -> None:
    """As soon as it is published, whatever the replica has."""
    register(deployment)
    app.tables.filter(name="city").update(permissions='{"select": [{"name": "$auth.sub"}]}')
    publish(app)
    [of_ada] = answers(deployment, "cities", caller=Caller("ada", {"sub": "ada"}))
    assert of_ada["ast"]["where"]["right"] == {"type": "literal", "value": "ada"}
    [of_visitor] = answers(deployment, "cities")
    assert of_visitor["ast"]["where"] == NO_ROW


def test_nothing_is_worked_out_twice(deployment: Deployment) -> None:
    """As long as nothing that it depends on changes."""
    transformers = named_queries._Transformers()

    def made(deployment: Deployment = deployment) -> Transformer:
        return transformers.of(deployment, time.monotonic())

    first = made()
    assert made() is first
    register(deployment)
    second = made()
    assert second is not first
    assert made() is second
    for number in range(named_queries.MAX_DEPLOYMENTS):
        made(replace(deployment, shard_num=number + 1))
    assert made() is not second


def test_requests_that_wait_share_what_is_read(deployment: Deployment) -> None:
    """What was read after a request had come is new enough for it, and nothing else is."""
    transformers = named_queries._Transformers()
    before = time.monotonic()
    with CaptureQueriesContext(connection) as queries:
        shared = transformers.of(deployment, before)
        read = len(queries)
        assert transformers.of(deployment, before) is shared
        assert len(queries) == read > 0
        transformers.of(deployment, time.monotonic())
        assert len(queries) > read


def test_a_credential_does_not_share_what_was_read_for_another(deployment: Deployment) -> None:
    """Which may have been revoked."""
    transformers = named_queries._Transformers()
    before = time.monotonic()
    transformers.of(deployment, before)
    client = Client.objects.get()
    revoked, _ = client.credentials.model.objects.issue(client)
    revoked.revoke()
    for credential_id in (revoked.pk, None):
        with pytest.raises(DeploymentRefused):
            transformers.of(
                replace(deployment, identity=replace(deployment.identity, credential_id=credential_id)), before
            )


def test_queries_are_counted_by_name_and_outcome(deployment: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    """Names that no query has count as one, however many clients invent. The log has one line, without names."""
    before = counters.read()
    with caplog.at_level("INFO", "changesource.operations.named_queries"):
        answers(deployment, "cities", "towns", "cities", *(f"made-up-{i}" for i in range(50)))
    after = counters.read()
    grown = {key: count - before.get(key, (0, 0.0))[0] for key, (count, _) in after.items()}
    assert {key: count for key, count in grown.items() if count} == {
        ("shop", "cities", "ast"): 2,
        ("shop", "towns", "ast"): 1,
        ("shop", "", "refused"): 50,
    }
    assert all(seconds > before.get(key, (0, 0.0))[1] for key, (_, seconds) in after.items() if grown[key])
    [line] = caplog.messages
    assert line.startswith("shop/0: 53 named queries for client cache: 3 with an AST, 50 refused, 0 failed, in ")
    assert "made-up" not in line


@pytest.mark.parametrize(
    ("app_id", "schema"),
    [
        *[("", schema) for schema in ("", "_0")],
        *[
            ("shop", schema)
            for schema in ("", "shop", "shop_", "other_0", "shop_-1", "shop_0 ", "shop_1e3", "shop_\u0663", "shop_01")
        ],
        ("shop", "shop_1111111111"),
        ("sho.", "shop_0"),
    ],
)
def test_the_url_names_app_and_shard(app_id: str, schema: str) -> None:
    """As zero-cache appends them."""
    with pytest.raises(DeploymentRefused):
        deployment_of(Identity(1, "cache"), app_id, schema)
    assert deployment_of(Identity(1, "cache"), "shop", "shop_12").shard_num == 12


def test_the_reason_of_a_refusal_repeats_nothing_of_the_request(deployment: Deployment) -> None:
    """It is logged, and stored once for each different one: whoever has a credential could write anything there."""
    hostile = "x" * 5_000
    refused = [replace(deployment, app_id=hostile)]
    Client.objects.get().grants.update(shards="1")
    refused.append(replace(deployment, shard_num=123_456))
    for each in refused:
        with pytest.raises(DeploymentRefused) as caught:
            answers(each, "cities")
        assert not any(text in str(caught.value) for text in (hostile, "123456"))
    with pytest.raises(DeploymentRefused) as caught:
        deployment_of(deployment.identity, hostile, hostile)
    assert hostile not in str(caught.value)


def test_the_entitlements_of_the_fixture_are_in_force(deployment: Deployment) -> None:
    """What the tests above begin with."""
    key = ClientInApp(deployment.identity.client_id, "shop")
    assert read_entitlements.blocking([key.client_id])[key].versions[0].is_base
