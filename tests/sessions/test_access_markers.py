"""client_access.py: how often the marker of a client's access is written."""

from typing import Any

import pytest

from changesource.models.queries.access import Entitlements, StoredAccess
from changesource.models.queries.clients import Identity
from changesource.mongo.markers import AccessMarker
from changesource.sessions import client_access
from changesource.sessions.client_access import ClientAccess

WAITING = StoredAccess(2, "a" * 32, None, "{}")
"""An access whose marker has not come back."""


async def test_a_marker_that_does_not_come_back_is_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time, because its writer may have been killed before it wrote it. Until then a session that asks many times a
    second writes nothing."""
    written: list[AccessMarker] = []

    async def write(database: Any, app_id: str, marker: AccessMarker) -> None:
        written.append(marker)

    monkeypatch.setattr(client_access, "write_access_marker", write)
    entitlements = Entitlements(
        is_active=True,
        expires_at=None,
        shards=frozenset(),
        credentials=frozenset(),
        accepts_jwt=True,
        wanted="{}",
        versions=(WAITING,),
    )
    access = ClientAccess(Identity(1, "tenant"), "shop", (), entitlements)
    database: Any = None
    for _ in range(3):
        await access.apply_grant(database)
    assert written == [AccessMarker(1, WAITING.nonce)]
    monkeypatch.setattr(client_access, "MARK_AGAIN_SECONDS", 0.0)
    await access.apply_grant(database)
    assert written == [AccessMarker(1, WAITING.nonce)] * 2
