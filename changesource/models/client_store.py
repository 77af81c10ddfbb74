"""What the streaming code asks of the Django DB about clients, as coroutines that give plain data; see `store`."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import Error, IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from changesource.models.access_version import AccessVersion
from changesource.models.client import Client, Grant
from changesource.models.credential import Credential, digest_of, lookups_of
from changesource.models.refusal import Refusal
from changesource.models.store import in_database

logger = logging.getLogger(__name__)

LAST_SEEN_INTERVAL = timedelta(minutes=1)
"""How exact `last_seen_at` and `last_used_at` are: zero-cache may reconnect every 25 ms, which is no reason to write."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who connected. `credential_id` is None for who came with a JWT, whose claims gave `attributes`; those come before the
    client's own. `expires_at` is when the credential or the token does."""

    client_id: int
    name: str
    credential_id: int | None = None
    attributes: tuple[tuple[str, Any], ...] = ()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredAccess:
    """An `AccessVersion`. `access` is `Grant.access()` as JSON text; `cluster_time` is None before anybody has met its
    marker, and 0 for one without, over which nothing streams on."""

    number: int
    nonce: str
    cluster_time: int | None
    access: str

    @property
    def is_base(self) -> bool:
        return self.cluster_time == 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What of one app a client may have now. `wanted` is the access that its grant says, `versions` are the stored ones since
    the last base, in the order of their numbers; `credentials` are those that are valid."""

    expires_at: datetime | None
    shards: frozenset[int]
    credentials: frozenset[int]
    wanted: str
    versions: tuple[StoredAccess, ...]

    def may_be_shard(self, shard_num: int) -> bool:
        return not self.shards or shard_num in self.shards

    @property
    def base_number(self) -> int:
        return max((version.number for version in self.versions if version.is_base), default=0)


@dataclass(frozen=True, slots=True)
class ClientInApp:
    client_id: int
    app_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A kind of refused connection: an address and a reason. `client` is a name, empty when nobody knows who it was."""

    address: str
    client: str
    code: int
    reason: str


async def record_refusals(counts: Mapping[Refused, int]) -> None:
    """Adds to what is kept of refused connections."""
    await in_database(_record_refusals, counts)


async def authenticate(token: str) -> Identity | None:
    """Whose `token` this is; None for a wrong or revoked one, and for a client that is switched off or has expired."""
    return await in_database(_authenticate, token)


async def standings(client_ids: Collection[int]) -> dict[ClientInApp, Standing]:
    """What each of `client_ids` may have of each app now. Who is switched off or has expired has nothing."""
    return await in_database(_standings, client_ids)


async def begin_access(key: ClientInApp, *, without_marker: bool = False) -> None:
    """Stores what the grant says as the next version, unless it is the newest already or another is waiting for its marker.
    The first one needs no marker, as nothing has streamed before it."""
    await in_database(_begin_access, key, without_marker)


async def confirm_access(nonce: str, cluster_time: int) -> None:
    """The marker with `nonce` was met at `cluster_time`. Who met it first decides."""
    await in_database(AccessVersion.objects.confirm, nonce, cluster_time)


async def access_versions(key: ClientInApp) -> tuple[StoredAccess, ...]:
    """As `Standing.versions`, now."""
    return await in_database(
        lambda: _versions_of(_stored(Q(client=key.client_id, app__app_id=key.app_id)).get(key, ()))
    )


def _record_refusals(counts: Mapping[Refused, int]) -> None:
    now = timezone.now()
    with transaction.atomic():
        for refused, times in counts.items():
            row, _ = Refusal.objects.get_or_create(
                address=refused.address,
                client=refused.client,
                code=refused.code,
                reason=refused.reason,
                defaults={"count": 0, "first_seen": now, "last_seen": now},
            )
            Refusal.objects.filter(pk=row.pk).update(count=F("count") + times, last_seen=now)


def _authenticate(token: str) -> Identity | None:
    digest = digest_of(token)
    now = timezone.now()
    credential = (
        Credential.objects.select_related("client")
        .filter(_unexpired("", now), _unexpired("client__", now))
        .filter(lookup__in=lookups_of(digest), revoked_at=None, client__is_active=True)
        .first()
    )
    if credential is None or not credential.verify(digest):
        return None
    client = credential.client
    _note_seen(client, "last_seen_at", now)
    _note_seen(credential, "last_used_at", now)
    return Identity(client.pk, client.name, credential.pk, expires_at=credential.expires_at)


def _unexpired(prefix: str, now: datetime) -> Q:
    return Q(**{f"{prefix}expires_at": None}) | Q(**{f"{prefix}expires_at__gt": now})


def _note_seen(row: Client | Credential, field: str, now: datetime) -> None:
    last = getattr(row, field)
    if last and now - last < LAST_SEEN_INTERVAL:
        return
    try:
        type(row).objects.filter(pk=row.pk).update(**{field: now})
    except Error as exc:  # a database that only reads for now is no reason to refuse a client
        logger.warning("%s of client %s could not be stored: %s", field, row.pk, type(exc).__name__)


def _standings(client_ids: Collection[int]) -> dict[ClientInApp, Standing]:
    now = timezone.now()
    grants = list(
        Grant.objects.filter(_unexpired("client__", now), client__in=client_ids, client__is_active=True).select_related(
            "client", "app"
        )
    )
    credentials: defaultdict[int, set[int]] = defaultdict(set)
    valid = Credential.objects.filter(_unexpired("", now), client__in=client_ids, revoked_at=None)
    for client_id, pk in valid.values_list("client_id", "pk"):
        credentials[client_id].add(pk)
    stored = _stored(Q(client__in=client_ids))
    found = {}
    for grant in grants:
        key = ClientInApp(grant.client_id, grant.app.app_id)
        found[key] = Standing(
            expires_at=grant.client.expires_at,
            shards=grant.shard_numbers(),
            credentials=frozenset(credentials[grant.client_id]),
            wanted=_text(grant.access()),
            versions=_versions_of(stored.get(key, ())),
        )
    return found


def _stored(which: Q) -> Mapping[ClientInApp, Sequence[StoredAccess]]:
    found: defaultdict[ClientInApp, list[StoredAccess]] = defaultdict(list)
    rows = AccessVersion.objects.filter(which).order_by("number")
    for client_id, app_id, number, nonce, cluster_time, access in rows.values_list(
        "client_id", "app__app_id", "number", "nonce", "cluster_time", "access"
    ):
        found[ClientInApp(client_id, app_id)].append(StoredAccess(number, nonce, cluster_time, _text(access)))
    return found


def _versions_of(stored: Sequence[StoredAccess]) -> tuple[StoredAccess, ...]:
    base = max((version.number for version in stored if version.is_base), default=0)
    return tuple(version for version in stored if version.number >= base)


def _begin_access(key: ClientInApp, without_marker: bool) -> None:
    grant = Grant.objects.select_related("client").filter(client=key.client_id, app__app_id=key.app_id).first()
    if grant is None:
        return
    try:
        with transaction.atomic():
            newest = AccessVersion.objects.filter(client=grant.client, app=grant.app).order_by("-number").first()
            access = grant.access()
            if newest is not None and without_marker and newest.cluster_time is None:
                AccessVersion.objects.confirm(newest.nonce, 0)
                return
            if newest is not None and (newest.cluster_time is None or newest.access == access):
                return
            AccessVersion.objects.create(
                client=grant.client,
                app=grant.app,
                number=newest.number + 1 if newest else 1,
                access=access,
                cluster_time=0 if newest is None or without_marker else None,
            )
    except IntegrityError:
        logger.debug("another process has stored the access of client %s", key.client_id)


def _text(access: Any) -> str:
    """The same text for the same access."""
    return json.dumps(access, sort_keys=True, ensure_ascii=False)
