"""queries/replicas.py: replicas as they were registered, and how far each has come."""

import asyncio
from dataclasses import replace

import pytest
from django.utils import timezone

from changesource.models import App, Client, Replica, queries
from changesource.models.queries.replicas import ReplicaRecord
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db(transaction=True)

RECORD = ReplicaRecord(
    "shop",
    0,
    replica_version="5abcde",
    snapshot_end="5abcdz",
    version_number=1,
    client_id=None,
    access_number=1,
    scope="s",
)


@pytest.fixture
def app() -> App:
    return build_app()


@pytest.fixture
def client(app: App) -> Client:
    return Client.objects.create_for_apps("cache", [app])


async def test_an_unregistered_replica_is_not_found(app: App) -> None:
    """A replica that was never registered is None."""
    assert await queries.replicas.find_replica("shop", 0, "5abcde") is None


async def test_a_registered_replica_is_found_as_it_was(client: Client) -> None:
    """A registered replica is found as it was."""
    await queries.replicas.register_replica(replace(RECORD, client_id=client.pk))
    assert await queries.replicas.find_replica("shop", 0, "5abcde") == replace(RECORD, client_id=client.pk)


async def test_registering_again_replaces_the_replica(client: Client) -> None:
    """Registering again, as after a lost reply, replaces."""
    await queries.replicas.register_replica(replace(RECORD, client_id=client.pk))
    await queries.replicas.register_replica(replace(RECORD, client_id=client.pk))
    assert await Replica.objects.acount() == 1


async def test_shards_are_apart(client: Client) -> None:
    """Another shard of the same replica version is another replica."""
    await queries.replicas.register_replica(replace(RECORD, client_id=client.pk))
    assert await queries.replicas.find_replica("shop", 1, "5abcde") is None


async def test_a_replica_of_a_deleted_app_is_not_registered(app: App, client: Client) -> None:
    """A snapshot that ends after its app was deleted registers nothing and fails nobody."""
    await app.adelete()
    await queries.replicas.register_replica(replace(RECORD, client_id=client.pk))
    assert await Replica.objects.acount() == 0


async def test_a_replica_outlives_its_client(client: Client) -> None:
    """A replica outlives its client."""
    client_id = client.pk
    await client.adelete()
    await queries.replicas.register_replica(replace(RECORD, client_id=client_id))
    assert (await Replica.objects.aget()).client_id is None


async def test_an_older_watermark_does_not_replace_a_newer_one(client: Client) -> None:
    """The newest acknowledged watermark is kept; one that comes late does not take it back."""
    await queries.replicas.register_replica(replace(RECORD, client_id=client.pk))
    for watermark in ("5abcdf", "5abcdz", "5abcdh"):
        await queries.replicas.note_acknowledged("shop", 0, "5abcde", watermark)
    assert (await Replica.objects.aget()).acknowledged == "5abcdz"


async def test_concurrent_calls_all_get_their_answers(client: Client) -> None:
    """Calls of many streams at once all get their answer."""
    await queries.replicas.register_replica(replace(RECORD, client_id=client.pk))
    found = await asyncio.gather(*(queries.replicas.find_replica("shop", 0, "5abcde") for _ in range(50)))
    assert found == [replace(RECORD, client_id=client.pk)] * 50
    assert (await Replica.objects.aget()).last_seen_at <= timezone.now()
