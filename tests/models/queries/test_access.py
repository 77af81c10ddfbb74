"""queries/access.py: what is stored of what a client may read."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from changesource.models import AccessVersion, Client, queries
from changesource.models.queries.access import ClientInApp, StoredAccess
from tests.models.builders import build_app, set_grant

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client() -> Client:
    return Client.objects.create_for_apps("tenant", [build_app()])


@pytest.fixture
def key(client: Client) -> ClientInApp:
    return ClientInApp(client.pk, "shop")


def begin(key: ClientInApp, **options: Any) -> None:
    async_to_sync(queries.access.begin_access)(key, **options)


def stored(key: ClientInApp) -> tuple[StoredAccess, ...]:
    return async_to_sync(queries.access.access_versions)(key)


def numbers(key: ClientInApp) -> list[tuple[int, int | None]]:
    return [(version.number, version.cluster_time) for version in stored(key)]


def test_the_first_access_needs_no_marker(key: ClientInApp) -> None:
    """Nothing has streamed before it, so that it needs no marker; again stores nothing."""
    begin(key)
    begin(key)
    assert numbers(key) == [(1, 0)]


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (1, 1.0), ("1", 1), (None, False), ([1], [True])])
def test_a_change_that_python_does_not_see_is_stored_once(
    client: Client, key: ClientInApp, before: Any, after: Any
) -> None:
    """To Python 1 is True, to a filter it is not: the change is stored, once."""
    Client.objects.update(attributes={"t": before})
    begin(key)
    Client.objects.update(attributes={"t": after})
    begin(key)
    begin(key)
    assert numbers(key) == [(1, 0), (2, None)]


def test_one_change_waits_for_its_marker_at_a_time(client: Client, key: ClientInApp) -> None:
    """A later change is stored when the marker of the one before has been met, by whoever met it first."""
    begin(key)
    for tenant in ("a", "b"):
        Client.objects.update(attributes={"t": tenant})
        begin(key)
    assert numbers(key) == [(1, 0), (2, None)]
    nonce = stored(key)[-1].nonce
    for cluster_time in (7, 5):
        async_to_sync(queries.access.confirm_access)(nonce, cluster_time)
    begin(key)
    assert numbers(key) == [(1, 0), (2, 7), (3, None)]


def test_without_a_marker_the_access_is_in_force_at_once(client: Client, key: ClientInApp) -> None:
    """What waits is in force at once, and what came before it counts no more."""
    begin(key)
    Client.objects.update(attributes={"t": "a"})
    begin(key)
    begin(key, without_marker=True)
    begin(key, without_marker=True)
    assert numbers(key) == [(2, 0)]
    Client.objects.update(attributes={"t": "b"})
    begin(key, without_marker=True)
    assert numbers(key) == [(3, 0)]


def test_a_grant_that_is_deleted_and_created_again_continues(client: Client, key: ClientInApp) -> None:
    """While it is gone nothing is stored; then what was in force goes on, or changes."""
    begin(key)
    grant = client.grants.get()
    app = grant.app
    grant.delete()
    begin(key)
    client.grants.create(app=app)
    begin(key)
    assert numbers(key) == [(1, 0)]
    set_grant(client, all_tables=False)
    begin(key)
    assert numbers(key) == [(1, 0), (2, None)]
    assert AccessVersion.objects.count() == 2


def test_an_app_that_starts_over_begins_each_access_without_a_marker(client: Client, key: ClientInApp) -> None:
    """What waits for a marker, and the places of markers in another source, count no more; who has had nothing yet has
    nothing."""
    app = client.apps.get()
    with transaction.atomic():
        AccessVersion.objects.start_over(app)
    assert numbers(key) == []
    begin(key)
    set_grant(client, row_filters='{"order": {}}')
    begin(key)
    with transaction.atomic():
        AccessVersion.objects.start_over(app)
    assert numbers(key) == [(3, 0)]
    assert "order" in stored(key)[0].access
    begin(key)
    assert numbers(key) == [(3, 0)]
