"""queries/pruning.py: the rows that clients create are bounded, and what a zero-cache can need stays."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from changesource.errors import UnknownVersion
from changesource.models import AccessVersion, App, AwaitedReplica, Client, Replica, queries
from changesource.models.queries.access import ClientInApp, StoredAccess, read_entitlements
from changesource.models.queries.awaited_replicas import ResetNotice, note_reset
from changesource.models.queries.pruning import SUPERSEDED_FOR, UNSEEN_FOR, prune_replicas
from changesource.models.queries.replicas import ReplicaRecord, register_replica
from changesource.protocol.watermarks import Position
from changesource.replication.version_history import FIRST_ORDINAL_AFTER_MARKER, number_in_force
from tests.examples import examples
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)


@pytest.fixture
def app() -> App:
    return build_app()


@pytest.fixture
def client(app: App) -> Client:
    return Client.objects.create_for_apps("cache", [app])


def at(cluster_time: int, ordinal: int = 0) -> str:
    return Position(cluster_time, ordinal).watermark


def build_replica(client: Client | None, version: str, **values: object) -> Replica:
    defaults: dict[str, object] = {
        "app": App.objects.get(),
        "client": client,
        "shard_num": 0,
        "snapshot_end": version,
        "version_number": 1,
        "last_seen_at": timezone.now(),
    }
    return Replica.objects.create(replica_version=version, **{**defaults, **values})


def kept() -> list[str]:
    return list(Replica.objects.order_by("replica_version").values_list("replica_version", flat=True))


def test_replicas_that_nothing_needs_are_deleted(client: Client) -> None:
    """One goes that was not seen for long, or that another has followed which is in use, a while after it was seen last."""
    now = timezone.now()
    long_ago = now - SUPERSEDED_FOR - DAY
    build_replica(client, at(1), last_seen_at=long_ago)
    build_replica(client, at(2), last_seen_at=now)  # followed, and still in use
    build_replica(client, at(3), acknowledged=at(4), last_seen_at=now)
    build_replica(client, at(4), shard_num=1, last_seen_at=now - UNSEEN_FOR - DAY)
    build_replica(client, at(5), shard_num=2, last_seen_at=now - UNSEEN_FOR + DAY)
    build_replica(client, at(6), shard_num=3, last_seen_at=long_ago)
    build_replica(client, at(7), shard_num=3, last_seen_at=now)  # never resumed
    build_replica(None, at(8), shard_num=4, last_seen_at=long_ago)  # its client is deleted
    assert prune_replicas.blocking() == 3
    assert kept() == [at(number) for number in (2, 3, 5, 6, 7)]


async def test_replicas_of_a_client_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many shards it makes up; those that were seen last stay, and those of others."""
    monkeypatch.setattr(queries.pruning, "MAX_OF_CLIENT", 3)
    other = await Client.objects.acreate(name="other")
    await register_replica(ReplicaRecord("shop", 0, at(1), at(1), 1, other.pk, 1, ""))
    for number in range(2, 10):
        await register_replica(ReplicaRecord("shop", number, at(number), at(number), 1, client.pk, 1, ""))
        await Replica.objects.filter(replica_version=at(2)).aupdate(last_seen_at=timezone.now())
    found = [replica.replica_version async for replica in Replica.objects.order_by("replica_version")]
    assert found == [at(1), at(2), at(8), at(9)]


async def test_awaited_replicas_of_a_client_are_bounded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is a fault stays longer than what is none."""
    monkeypatch.setattr(queries.pruning, "MAX_OF_CLIENT", 3)
    for number in range(1, 10):
        await register_replica(ReplicaRecord("shop", number, at(number), at(number), 1, client.pk, 1, ""))
        await note_reset(ResetNotice("shop", client.pk, number, at(number), "", "lost", is_fault=number == 1))
    found = [row.shard_num async for row in AwaitedReplica.objects.order_by("shard_num")]
    assert found == [1, 8, 9]
    await AwaitedReplica.objects.aupdate(told_at=timezone.now() - UNSEEN_FOR - DAY)
    await queries.pruning.prune_replicas()
    assert not await AwaitedReplica.objects.aexists()


# Access versions

MARKER_DISTANCE = 10
"""Cluster times between the markers of two versions."""


@dataclass(frozen=True)
class Stored:
    """An access version: how many days old, and whether it began without a marker."""

    days: int
    is_base: bool


@dataclass(frozen=True)
class Built:
    """A replica: which version was in force at its first watermark, how long after that version's marker, and how many
    days ago its zero-cache was seen."""

    number: int
    distance: int
    days: int


HISTORIES = st.lists(st.builds(Stored, st.integers(0, 20), st.booleans() | st.just(False)), min_size=1, max_size=8)
REPLICAS = st.lists(st.builds(Built, st.integers(0, 7), st.integers(0, MARKER_DISTANCE - 1), st.integers(0, 100)))


def marker_of(number: int) -> int:
    return number * MARKER_DISTANCE


@settings(max_examples=examples(150), deadline=None)
@given(history=HISTORIES, replicas=REPLICAS, is_newest_met=st.booleans())
def test_pruning_changes_nothing_for_replicas(
    history: Sequence[Stored], replicas: Sequence[Built], is_newest_met: bool
) -> None:
    """Whatever is pruned: a replica that is still there may go on if and only if it might before, and each watermark that it
    may come back with was sent under the same version as before."""
    with transaction.atomic():
        app = App.objects.create(app_id="pruned")
        client = Client.objects.create_for_apps("pruned", [app])
        key = ClientInApp(client.pk, app.app_id)
        now = timezone.now()
        ages = sorted((stored.days for stored in history), reverse=True)
        for number, (stored, days) in enumerate(zip(history, ages, strict=True), start=1):
            cluster_time: int | None = 0 if stored.is_base or number == 1 else marker_of(number)
            if number == len(history) > 1 and not stored.is_base and not is_newest_met:
                cluster_time = None
            created = AccessVersion.objects.create(
                client=client, app=app, number=number, access={}, cluster_time=cluster_time
            )
            AccessVersion.objects.filter(pk=created.pk).update(created_at=now - days * DAY)
        for shard_num, built in enumerate(replicas):
            number = built.number % len(history) + 1
            Replica.objects.create(
                app=app,
                client=client,
                shard_num=shard_num,
                replica_version=at(marker_of(number) + built.distance, FIRST_ORDINAL_AFTER_MARKER),
                snapshot_end=at(marker_of(number) + built.distance, FIRST_ORDINAL_AFTER_MARKER),
                version_number=1,
                access_number=number,
                last_seen_at=now - built.days * DAY,
            )
        before = read_entitlements.blocking([client.pk])[key]
        prune_replicas.blocking()
        after = read_entitlements.blocking([client.pk])[key]
        assert after.versions[-1] == before.versions[-1]
        in_force = [version for version in before.versions if version.cluster_time is not None]
        assert set(in_force[-1:]) <= set(after.versions)
        for replica in Replica.objects.filter(app=app):
            may_go_on = may_resume(replica, before.versions)
            assert may_resume(replica, after.versions) == may_go_on
            if may_go_on:
                first = Position.from_watermark(replica.replica_version)
                for cluster_time in range(first.cluster_time, marker_of(len(history) + 1)):
                    position = max(first, Position(cluster_time, 1))
                    assert number_in_force(after.versions, position) == number_in_force(before.versions, position)
        transaction.set_rollback(True)


def may_resume(replica: Replica, versions: Sequence[StoredAccess]) -> bool:
    """As `resume.reset_at_resume` decides it."""
    if not versions[0].number <= replica.access_number <= versions[-1].number:
        return False
    try:
        number = number_in_force(versions, Position.from_watermark(replica.replica_version))
    except UnknownVersion:
        return False
    return number == replica.access_number


def test_access_versions_that_nothing_needs_are_deleted(client: Client, app: App) -> None:
    """Of a client that has no replica all but the version in force, a while after it was replaced; with one, those from which
    it was built on stay."""
    for number in range(1, 6):
        AccessVersion.objects.create(
            client=client, app=app, number=number, access={}, cluster_time=0 if number == 1 else marker_of(number)
        )
    AccessVersion.objects.filter(number__lt=5).update(created_at=timezone.now() - SUPERSEDED_FOR - DAY)
    replica = build_replica(client, at(marker_of(2), FIRST_ORDINAL_AFTER_MARKER), access_number=2)
    numbers = AccessVersion.objects.order_by("number").values_list("number", flat=True)
    prune_replicas.blocking()
    assert list(numbers.all()) == [2, 3, 4, 5]
    replica.delete()
    prune_replicas.blocking()
    assert list(numbers.all()) == [4, 5]


def test_access_versions_are_bounded(client: Client, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest stay, however new the others are, and a replica of before is then one that may not go on."""
    monkeypatch.setattr(queries.pruning, "MAX_OF_CLIENT", 3)
    for number in range(1, 9):
        AccessVersion.objects.create(
            client=client, app=app, number=number, access={}, cluster_time=0 if number == 1 else marker_of(number)
        )
    replica = build_replica(client, at(marker_of(2), FIRST_ORDINAL_AFTER_MARKER), access_number=2)
    prune_replicas.blocking()
    versions = read_entitlements.blocking([client.pk])[ClientInApp(client.pk, "shop")].versions
    assert [version.number for version in versions] == [6, 7, 8]
    assert not may_resume(replica, versions)
