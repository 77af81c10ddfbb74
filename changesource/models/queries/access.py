"""What clients may read of apps, now and at each place in a stream."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from changesource.models.access_version import AccessVersion
from changesource.models.client import Grant
from changesource.models.credential import Credential
from changesource.models.database_threads import REVOCATION, STREAMS
from changesource.models.queries.clients import Identity, refusal_of_client

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredAccess:
    """An `AccessVersion`. `access` is `Grant.access()` as JSON text. `cluster_time` is None until a
    reader meets the marker, and 0 for a version without one, across which no stream continues.
    `stored_at` is by the clock of the process that stored it."""

    number: int
    nonce: str
    cluster_time: int | None
    access: str
    stored_at: datetime

    @property
    def is_base(self) -> bool:
        return self.cluster_time == 0


@dataclass(frozen=True, slots=True)
class StoredCutover:
    """The client whose access changes, and the cluster time of the marker, None until a reader has
    met it."""

    client_id: int
    cluster_time: int | None


@dataclass(frozen=True, slots=True)
class Entitlements:
    """What a client may have of one app now, by its grant: nothing unless it `is_active`, which
    means neither switched off nor expired.

    `wanted` is the access in the grant; `versions` are the stored ones since the last base, ordered
    by number. `credentials` are the valid ones; if the client `accepts_jwt`, JWTs are valid too.
    Empty `shards` allow any shard.
    """

    is_active: bool
    expires_at: datetime | None
    shards: frozenset[int]
    credentials: frozenset[int]
    accepts_jwt: bool
    wanted: str
    versions: tuple[StoredAccess, ...]

    def may_be_shard(self, shard_num: int) -> bool:
        return not self.shards or shard_num in self.shards

    def admits(self, identity: Identity) -> bool:
        """Whether the client may connect with what `identity` presented."""
        is_valid = self.accepts_jwt if identity.credential_id is None else identity.credential_id in self.credentials
        return self.is_active and is_valid

    @property
    def newest_number(self) -> int:
        return self.versions[-1].number if self.versions else 0

    @property
    def oldest_number(self) -> int:
        """No stream continues from before it: it is the last base, or earlier versions have been
        deleted."""
        return self.versions[0].number if self.versions else 0

    @property
    def progress(self) -> tuple[int, bool]:
        """Only grows: the number of the newest version, and whether its marker has been met."""
        return self.newest_number, bool(self.versions) and self.versions[-1].cluster_time is not None


@dataclass(frozen=True, slots=True)
class ClientInApp:
    client_id: int
    app_id: str


@REVOCATION.query
def read_entitlements(client_ids: Collection[int]) -> dict[ClientInApp, Entitlements]:
    """What each of `client_ids` may have now, for each app for which it has a grant."""
    now = timezone.now()
    grants = Grant.objects.filter(client__in=client_ids).select_related("client", "app")
    credentials: defaultdict[int, set[int]] = defaultdict(set)
    unrevoked = Credential.objects.filter(client__in=client_ids, revoked_at=None).order_by()
    for client_id, pk, expires_at in unrevoked.values_list("client_id", "pk", "expires_at"):
        if expires_at is None or expires_at > now:
            credentials[client_id].add(pk)
    stored = _stored(Q(client__in=client_ids))
    found = {}
    for grant in grants:
        key = ClientInApp(grant.client_id, grant.app.app_id)
        found[key] = Entitlements(
            is_active=not refusal_of_client(grant.client, now),
            expires_at=grant.client.expires_at,
            shards=grant.shard_numbers(),
            credentials=frozenset(credentials[grant.client_id]),
            accepts_jwt=grant.client.accepts_jwt,
            wanted=_text(grant.access()),
            versions=_since_base(stored.get(key, ())),
        )
    return found


@STREAMS.query
def access_versions(key: ClientInApp) -> tuple[StoredAccess, ...]:
    """The stored versions since the last base, as in `Entitlements.versions`."""
    return _since_base(_stored(Q(client=key.client_id, app__app_id=key.app_id)).get(key, ()))


@STREAMS.query
def access_cutovers(app_id: str, since: int) -> Mapping[str, StoredCutover]:
    """Nonce → the change that begins, or may still begin, at a marker in the app's source at or
    after the cluster time `since`."""
    rows = AccessVersion.objects.filter(
        Q(cluster_time=None) | Q(cluster_time__gte=since), app__app_id=app_id
    ).order_by()
    return {
        nonce: StoredCutover(client_id, cluster_time)
        for nonce, client_id, cluster_time in rows.values_list("nonce", "client_id", "cluster_time")
    }


@STREAMS.query
def begin_access(key: ClientInApp, *, without_marker: bool = False) -> None:
    """Stores the access in the grant as the next version, unless the newest one says the same or
    still waits for its marker. The first version needs no marker, as nothing has streamed before
    it."""
    try:
        with transaction.atomic():
            grants = Grant.objects.select_for_update(of=("self",)).select_related("client")
            grant = grants.filter(client=key.client_id, app__app_id=key.app_id).first()
            if grant is None:
                return
            newest = AccessVersion.objects.filter(client=grant.client, app=grant.app).order_by("-number").first()
            access = grant.access()
            if newest is not None and without_marker and newest.cluster_time is None:
                AccessVersion.objects.confirm(newest.nonce, 0)
                return
            # Compared as texts: to Python, 1 equals True.
            if newest is not None and (newest.cluster_time is None or _text(newest.access) == _text(access)):
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


@STREAMS.query
def confirm_access(nonce: str, cluster_time: int) -> None:
    """Stores that the marker with `nonce` was met at `cluster_time`. The first reader that meets it
    decides."""
    AccessVersion.objects.confirm(nonce, cluster_time)


def _stored(which: Q) -> Mapping[ClientInApp, Sequence[StoredAccess]]:
    found: defaultdict[ClientInApp, list[StoredAccess]] = defaultdict(list)
    rows = AccessVersion.objects.filter(which).order_by("number")
    for client_id, app_id, number, nonce, cluster_time, access, stored_at in rows.values_list(
        "client_id", "app__app_id", "number", "nonce", "cluster_time", "access", "created_at"
    ):
        version = StoredAccess(number, nonce, cluster_time, _text(access), stored_at)
        found[ClientInApp(client_id, app_id)].append(version)
    return found


def _since_base(stored: Sequence[StoredAccess]) -> tuple[StoredAccess, ...]:
    base = max((version.number for version in stored if version.is_base), default=0)
    return tuple(version for version in stored if version.number >= base)


def _text(access: Any) -> str:
    """The same text for the same access."""
    return json.dumps(access, sort_keys=True, ensure_ascii=False)
