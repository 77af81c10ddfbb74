"""client_access.py: how often the marker of a client's access is written."""

from dataclasses import replace
from typing import Any

import pytest

from changesource.models.queries.access import Entitlements, StoredAccess
from changesource.models.queries.clients import Identity
from changesource.mongo.markers import AccessMarker
from changesource.sessions import client_access
from changesource.sessions.client_access import ClientAccess

WAITING = StoredAccess(2, "a" * 32, None, "{}")
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


async def test_a_marker_may_have_to_wait_from_when_its_access_is_seen(
    monkeypatch: pytest.MonkeyPatch, written: list[AccessMarker]
) -> None:
    """Each access version for itself. A connection, which may last for months, remembers only the newest."""
    now = 1_000.0
    monkeypatch.setattr(client_access.time, "monotonic", lambda: now)
    access = ClientAccess(Identity(1, "tenant"), "shop", (), entitlements(WAITING))
    database: Any = None
    for number in range(2, 5):
        waiting = replace(WAITING, number=number, nonce=f"{number:032}")
        access.note(entitlements(waiting))
        await access.apply_grant(database, 6.0)
        now += 5.9
        await access.apply_grant(database, 6.0)
        assert len(written) == number - 2
        now += 0.2
        await access.apply_grant(database, 6.0)
        assert written[-1] == AccessMarker(1, waiting.nonce)
    assert len(access._seen_at) == 1
