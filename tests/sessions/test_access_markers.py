"""client_access.py: how often the marker of a client's access is written."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from changesource.models.queries.access import Entitlements, StoredAccess
from changesource.models.queries.clients import Identity
from changesource.mongo.markers import AccessMarker
from changesource.sessions import client_access
from changesource.sessions.client_access import ClientAccess

WAITING = StoredAccess(2, "a" * 32, None, "{}", timezone.now())
"""An access whose marker has not come back."""


def entitlements(*versions: StoredAccess) -> Entitlements:
    return Entitlements(
        is_active=True,
        expires_at=None,
        shards=frozenset(),
        credentials=frozenset(),
        accepts_jwt=True,
        wanted="{}",
        versions=versions,
    )


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[AccessMarker]:
    """The markers that are written."""
    markers: list[AccessMarker] = []

    async def write(database: Any, app_id: str, marker: AccessMarker) -> None:
        markers.append(marker)

    monkeypatch.setattr(client_access, "write_access_marker", write)
    return markers


async def test_a_marker_that_does_not_come_back_is_written_again(
    monkeypatch: pytest.MonkeyPatch, written: list[AccessMarker]
) -> None:
    """After a time, because its writer may have been killed before it wrote it. Until then a session that asks many times a
    second writes nothing."""
    access = ClientAccess(Identity(1, "tenant"), "shop", (), entitlements(WAITING))
    database: Any = None
    for _ in range(3):
        await access.apply_grant(database)
    assert written == [AccessMarker(1, WAITING.nonce)]
    monkeypatch.setattr(client_access, "MARK_AGAIN_SECONDS", 0.0)
    await access.apply_grant(database)
    assert written == [AccessMarker(1, WAITING.nonce)] * 2


async def test_a_marker_may_have_to_wait_from_when_its_access_was_stored(
    monkeypatch: pytest.MonkeyPatch, written: list[AccessMarker]
) -> None:
    """However often the client connects again meanwhile: otherwise one that does so all the time would keep its access."""
    now = timezone.now()
    monkeypatch.setattr(client_access.timezone, "now", lambda: now)
    waiting = replace(WAITING, stored_at=now)
    database: Any = None
    for passed, count in ((0.0, 0), (5.9, 0), (0.2, 1)):
        now += timedelta(seconds=passed)
        access = ClientAccess(Identity(1, "tenant"), "shop", (), entitlements(waiting))
        await access.apply_grant(database, 6.0)
        assert written == [AccessMarker(1, WAITING.nonce)] * count
