"""Who was told to build a new replica, and what replicas have had."""

from datetime import timedelta

import pytest
from django.utils import timezone

from changesource.models import App, AwaitedReplica, Client, Version
from changesource.models.awaited_replica import AWAITED_FOR
from changesource.models.queries.awaited_replicas import ResetNotice, awaited_replicas, note_reset
from changesource.models.queries.replicas import (
    ReplicaRecord,
    newest_watermark,
    newest_watermark_of_client,
    note_acknowledged,
    register_replica,
)
from tests.models.builders import build_app, publish

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def client(settings) -> Client:
    """Of a published app."""
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}
    app = build_app()
    publish(app)
    return Client.objects.create_for_apps("cache", [app])


def notice(
    client: Client, version: str = "5a", *, watermark: str = "5b", reason: str = "lost", is_fault: bool = True
) -> ResetNotice:
    return ResetNotice("shop", client.pk, 0, version, watermark, reason, is_fault)


def replica(client: Client, watermark: str, shard_num: int = 0, version_number: int = 1) -> ReplicaRecord:
    return ReplicaRecord("shop", shard_num, watermark, watermark, version_number, client.pk, 0, "")


@pytest.fixture
async def registered(client: Client) -> ReplicaRecord:
    record = replica(client, "5a")
    await register_replica(record)
    return record


async def awaited_shards() -> list[int]:
    return [awaited.shard_num for awaited in await awaited_replicas(20)]


async def test_a_replica_is_awaited_until_it_is_registered(client: Client, registered: ReplicaRecord) -> None:
    """A replica is missed from when its zero-cache is told until the next one of the same client and shard is registered."""
    await note_reset(notice(client))
    await register_replica(replica(client, "5c", shard_num=1))
    [awaited] = await awaited_replicas(20)
    assert (awaited.app_id, awaited.shard_num, awaited.reason) == ("shop", 0, "lost")
    await register_replica(replica(client, "5c"))
    assert await awaited_shards() == []


async def test_a_second_notice_updates_the_first(client: Client, registered: ReplicaRecord) -> None:
    """The newest reason and the newest watermark are kept, and how often; what was a fault stays one."""
    await note_reset(notice(client))
    await note_reset(notice(client, watermark="5a", reason="again", is_fault=False))
    row = await AwaitedReplica.objects.aget()
    assert (row.reason, row.watermark, row.is_fault) == ("again", "5b", True)


async def test_a_reset_that_a_person_asked_for_is_no_fault(client: Client, registered: ReplicaRecord) -> None:
    """Who has to build a new replica because somebody published so is not missed."""
    await note_reset(notice(client, is_fault=False))
    assert await awaited_shards() == []


async def test_a_replica_is_not_awaited_forever(client: Client, registered: ReplicaRecord) -> None:
    """A zero-cache that does not come back alarms nobody after an hour."""
    await note_reset(notice(client))
    await AwaitedReplica.objects.aupdate(told_at=timezone.now() - AWAITED_FOR - timedelta(seconds=1))
    assert await awaited_shards() == []


async def test_a_replica_that_is_not_registered_is_not_awaited(client: Client, registered: ReplicaRecord) -> None:
    """A replica that is not registered for this client and shard leaves nothing, whatever it says."""
    other = await Client.objects.acreate(name="other")
    await register_replica(replica(other, "5d", shard_num=1))
    for made_up in (notice(client, "zzzz"), notice(client, "5d"), notice(other, "5a"), notice(other, "5d")):
        await note_reset(made_up)
    assert not await AwaitedReplica.objects.aexists()


async def test_the_reset_of_a_superseded_replica_is_no_fault(client: Client, registered: ReplicaRecord) -> None:
    """Nobody misses it, also where it cannot go on for a fault."""
    await register_replica(replica(client, "5c"))
    await note_reset(notice(client, "5a"))
    assert await awaited_shards() == []
    await note_reset(notice(client, "5c"))
    assert await awaited_shards() == [0]


async def test_only_the_newest_awaited_replicas_are_returned(client: Client) -> None:
    """No more are given than are asked for."""
    for shard_num in range(5):
        await register_replica(replica(client, f"5{shard_num}", shard_num=shard_num))
        await note_reset(ResetNotice("shop", client.pk, shard_num, f"5{shard_num}", "", "lost", is_fault=True))
    assert len(await awaited_replicas(3)) == 3


async def test_a_notice_for_a_deleted_app_is_dropped(client: Client, registered: ReplicaRecord) -> None:
    """An app that was deleted meanwhile misses nobody."""
    await App.objects.all().adelete()
    await note_reset(notice(client))
    assert not await AwaitedReplica.objects.aexists()


async def test_the_newest_watermark_is_that_of_any_replica(client: Client) -> None:
    """What replicas have acknowledged counts, of the version asked for and those after it; what they had in the end, for a
    client."""
    base = await Version.objects.aget()
    assert await newest_watermark(base.nonce) == ""
    await register_replica(replica(client, "5b"))
    await note_acknowledged("shop", 0, "5b", "5d")
    await register_replica(replica(client, "5z", version_number=0))
    await note_reset(notice(client, "5b", watermark="6aa"))
    assert await newest_watermark(base.nonce) == "5d"
    assert await newest_watermark_of_client("shop", client.pk, 0) == "6aa"
    assert await newest_watermark_of_client("shop", client.pk, 1) == ""
