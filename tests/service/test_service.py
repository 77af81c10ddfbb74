"""service.py: which connections the service ends, and when."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.utils import timezone

from changesource import service as service_module
from changesource.conf import ChangeSourceSettings
from changesource.models import queries
from changesource.models.queries.access import ClientInApp, Entitlements
from changesource.models.queries.clients import Identity
from changesource.protocol.closing import Closing
from changesource.service import StreamService

KEY = ClientInApp(1, "shop")
PAST, LATER = timezone.now() - timedelta(seconds=1), timezone.now() + timedelta(hours=1)
VALID = Entitlements(True, LATER, frozenset({0}), frozenset({7}), accepts_jwt=False, wanted="{}", versions=())
BY_CREDENTIAL = Identity(1, "tenant", 7, expires_at=LATER)
BY_JWT = Identity(1, "tenant", expires_at=LATER)


class Connection:
    app_id = "shop"

    def __init__(self, identity: Identity = BY_CREDENTIAL, shard_num: int = 0) -> None:
        self.identity = identity
        self.shard_num = shard_num
        self.ended: list[Closing] = []
        self.has_ended = asyncio.Event()

    def end(self, how: Closing) -> None:
        self.ended.append(how)
        self.has_ended.set()


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> dict[ClientInApp, Entitlements]:
    """What the Django database says about clients. An exception in place of entitlements is
    raised."""
    found: dict[ClientInApp, Any] = {KEY: VALID}

    async def read_entitlements(client_ids: Any) -> dict[ClientInApp, Entitlements]:
        for entitlements in found.values():
            if isinstance(entitlements, Exception):
                raise entitlements
        return {key: replace(entitlements) for key, entitlements in found.items()}

    async def published_apps(app_ids: Any) -> dict[str, Any]:
        return {}

    async def prune_replicas() -> int:
        return 0

    monkeypatch.setattr(queries.access, "read_entitlements", read_entitlements)
    monkeypatch.setattr(queries.pruning, "prune_replicas", prune_replicas)
    monkeypatch.setattr(queries.published, "published_apps", published_apps)
    monkeypatch.setattr(service_module, "REFRESH_SECONDS", 0.01)
    return found


async def ended(connection: Connection, service: StreamService | None = None) -> list[int]:
    """Returns the close codes of a connection after the service has checked it once."""
    service = service or StreamService(ChangeSourceSettings(audit_days=0))
    service.add_connection(connection)
    await service._end_invalid_connections()
    return [how.code for how in connection.ended]


@pytest.mark.parametrize(
    ("identity", "shard_num", "entitlements", "codes"),
    [
        (BY_CREDENTIAL, 0, VALID, []),
        (BY_CREDENTIAL, 0, replace(VALID, credentials=frozenset()), [4401]),
        (BY_CREDENTIAL, 0, replace(VALID, credentials=frozenset({8}), accepts_jwt=True), [4401]),
        (replace(BY_CREDENTIAL, expires_at=PAST), 0, VALID, [4401]),
        (BY_CREDENTIAL, 0, replace(VALID, expires_at=PAST), [4401]),
        (BY_CREDENTIAL, 0, replace(VALID, is_active=False), [4401]),
        (BY_CREDENTIAL, 0, None, [4403]),
        (BY_CREDENTIAL, 1, VALID, [4403]),
        (BY_CREDENTIAL, 1, replace(VALID, shards=frozenset()), []),
        (BY_JWT, 0, VALID, [4401]),
        (BY_JWT, 0, replace(VALID, accepts_jwt=True), []),
        (replace(BY_JWT, expires_at=PAST), 0, replace(VALID, accepts_jwt=True), [4401]),
    ],
)
async def test_a_connection_that_is_no_longer_valid_is_ended(
    found: dict[ClientInApp, Any],
    identity: Identity,
    shard_num: int,
    entitlements: Entitlements | None,
    codes: list[int],
) -> None:
    """Its credential, token, client, grant or shard is not valid any longer."""
    found.clear()
    if entitlements is not None:
        found[KEY] = entitlements
    assert await ended(Connection(identity, shard_num)) == codes


async def test_without_the_database_only_the_clock_ends_connections(found: dict[ClientInApp, Any]) -> None:
    """The expiry of the token, and of the client as it was last known."""
    service = StreamService(ChangeSourceSettings(audit_days=0))
    assert await ended(Connection(), service) == []
    found[KEY] = DatabaseError()
    assert await ended(Connection(), service) == []
    assert await ended(Connection(replace(BY_CREDENTIAL, expires_at=PAST)), service) == [4401]
    service._entitlements[KEY] = replace(VALID, expires_at=PAST)
    assert await ended(Connection(), service) == [4401]


async def test_equal_entitlements_stay_the_same_object(found: dict[ClientInApp, Any]) -> None:
    """Sessions only look whether it is another object."""
    service = StreamService(ChangeSourceSettings(audit_days=0))
    connection = Connection()
    await ended(connection, service)
    first = service.entitlements(KEY)
    await ended(connection, service)
    assert service.entitlements(KEY) is first
    found[KEY] = replace(VALID, wanted='{"t": 1}')
    await ended(connection, service)
    assert service.entitlements(KEY) == found[KEY]


async def test_no_failure_of_periodic_work_keeps_revoked_connections_open(
    found: dict[ClientInApp, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    async def fail(app_ids: Any) -> dict[str, Any]:
        raise KeyError("a version that nobody can read")

    service = StreamService(ChangeSourceSettings(audit_days=0))
    connection = Connection()
    async with asyncio.timeout(10):
        await service.start(watch=False)
        monkeypatch.setattr(queries.published, "published_apps", fail)
        service.add_connection(connection)
        found[KEY] = ValueError("shards that nobody can read")
        while "shards that nobody can read" not in caplog.text:
            await asyncio.sleep(0.01)
        found[KEY] = replace(VALID, credentials=frozenset())
        await connection.has_ended.wait()
        await service.stop()
    assert connection.ended[0].code == 4401
    assert "a version that nobody can read" in caplog.text


async def test_slow_periodic_work_does_not_delay_the_end_of_revoked_connections(
    found: dict[ClientInApp, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For instance, published versions that wait for the database."""

    async def take_long(app_ids: Any) -> dict[str, Any]:
        is_waiting.set()
        await asyncio.Event().wait()
        return {}

    is_waiting = asyncio.Event()
    service = StreamService(ChangeSourceSettings(audit_days=0))
    connection = Connection()
    async with asyncio.timeout(10):
        await service.start(watch=False)
        monkeypatch.setattr(queries.published, "published_apps", take_long)
        service.add_connection(connection)
        await is_waiting.wait()
        found[KEY] = replace(VALID, credentials=frozenset())
        await connection.has_ended.wait()
        await service.stop()
    assert connection.ended[0].code == 4401
