"""What the streaming code asks of the Django DB about clients, as coroutines that give plain data; see `store`."""

from __future__ import annotations

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import Error, IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from changesource.models.access_version import AccessVersion
from changesource.models.audit import prune_audit as _prune_audit
from changesource.models.client import Client, Grant
from changesource.models.credential import Credential, lookups_of
from changesource.models.database_threads import AUTHENTICATION, REVOCATION
from changesource.models.refusal import (
    MAX_ADDRESS_LENGTH,
    MAX_CLIENT_LENGTH,
    MAX_REASON_LENGTH,
    MAX_REFUSALS,
    Refusal,
)
from changesource.models.store import in_database

logger = logging.getLogger(__name__)

for_authentication = AUTHENTICATION.ask
for_revocation = REVOCATION.ask

LAST_SEEN_INTERVAL = timedelta(minutes=1)
"""How exact `last_seen_at` and `last_used_at` are: zero-cache may reconnect every 25 ms, which is no reason to write."""

REFUSALS_AT_ONCE = 500
"""Counted by one statement: a database takes a bounded number of parameters."""


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
class StoredCredential:
    """A credential and whose it is. `refusal` says why it opens nothing now, for our own log; empty if it does.
    `is_use_noted`: its last use is stored, as exactly as it is ever."""

    credential_id: int
    client_id: int
    client_name: str
    lookup: str = field(repr=False)
    expires_at: datetime | None
    refusal: str
    is_use_noted: bool


@dataclass(frozen=True, slots=True)
class StoredClient:
    """A client that a JWT names. `refusal` and `is_use_noted` as in `StoredCredential`."""

    client_id: int
    name: str
    accepts_jwt: bool
    refusal: str
    is_use_noted: bool


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
class StoredTurn:
    """Whose access changes, and at which marker: None when nobody has met that yet."""

    client_id: int
    cluster_time: int | None


@dataclass(frozen=True, slots=True)
class Entitlements:
    """What of one app a client may have now, by its grant; nothing unless it `is_active`, switched on and not expired.

    `wanted` is the access that the grant says, `versions` are the stored ones since the last base, in the order of their
    numbers; `credentials` are those that are valid, beside JWTs if it `accepts_jwt`. No `shards` are any.
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
        """Whether the client may connect, by what `identity` came with."""
        is_valid = self.accepts_jwt if identity.credential_id is None else identity.credential_id in self.credentials
        return self.is_active and is_valid

    @property
    def newest_number(self) -> int:
        return self.versions[-1].number if self.versions else 0

    @property
    def oldest_number(self) -> int:
        """Nothing streams on from before it: it is the last base, or those before it are not kept any more."""
        return self.versions[0].number if self.versions else 0

    @property
    def progress(self) -> tuple[int, bool]:
        """Grows: the newest version, and whether its marker has been met."""
        return self.newest_number, bool(self.versions) and self.versions[-1].cluster_time is not None


@dataclass(frozen=True, slots=True)
class ClientInApp:
    client_id: int
    app_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """What refused connections are counted by. `client` is a name, empty when nobody knows who it was; `code` the WebSocket
    close code, or the HTTP status before there is a WebSocket."""

    address: str
    client: str
    code: int
    reason: str


async def find_credential(digest: str) -> StoredCredential | None:
    """The credential of the token with this digest (`models.credential.digest_of`), valid or not."""
    return await for_authentication(_find_credential, digest)


async def find_client(name: str) -> StoredClient | None:
    """The client with this name, valid or not. None for any text that is nobody's name, also what no database could look
    up."""
    return await for_authentication(_find_client, name)


async def note_use(client_id: int, credential_id: int | None = None) -> None:
    """Keeps that the client was here, by this credential."""
    await for_authentication(_note_use, client_id, credential_id)


async def renew_lookup(stored: StoredCredential, lookup: str) -> None:
    """Replaces the lookup that is `stored`, unless another process has replaced it already."""
    await for_authentication(_renew_lookup, stored, lookup)


async def read_entitlements(client_ids: Collection[int]) -> dict[ClientInApp, Entitlements]:
    """What each of `client_ids` may have of each app now, by its grants."""
    return await for_revocation(_entitlements, client_ids)


async def begin_access(key: ClientInApp, *, without_marker: bool = False) -> None:
    """Stores what the grant says as the next version, unless it is the newest already or another is waiting for its marker.
    The first one needs no marker, as nothing has streamed before it."""
    await in_database(_begin_access, key, without_marker)


async def confirm_access(nonce: str, cluster_time: int) -> None:
    """The marker with `nonce` was met at `cluster_time`. Who met it first decides."""
    await in_database(AccessVersion.objects.confirm, nonce, cluster_time)


async def access_turns(app_id: str, since: int) -> Mapping[str, StoredTurn]:
    """What begins, or may yet begin, at markers from the cluster time `since` on in the app's source, by nonce."""
    return await in_database(_access_turns, app_id, since)


async def access_versions(key: ClientInApp) -> tuple[StoredAccess, ...]:
    """As `Entitlements.versions`, now."""
    return await in_database(
        lambda: _versions_of(_stored(Q(client=key.client_id, app__app_id=key.app_id)).get(key, ()))
    )


async def record_refusals(counts: Mapping[Refused, int]) -> None:
    """Adds `counts` to what is kept, seen last now. The newest `MAX_REFUSALS` are kept."""
    if counts:
        await in_database(_record_refusals, counts)


async def prune_audit(days: int) -> int:
    """As `audit.prune_audit`."""
    return await in_database(_prune_audit, days)


def _find_credential(digest: str) -> StoredCredential | None:
    found = Credential.objects.select_related("client").filter(lookup__in=lookups_of(digest)).first()
    if found is None:
        return None
    client, now = found.client, timezone.now()
    return StoredCredential(
        credential_id=found.pk,
        client_id=client.pk,
        client_name=client.name,
        lookup=found.lookup,
        expires_at=found.expires_at,
        refusal=_refusal_of_credential(found, now) or _refusal_of_client(client, now),
        is_use_noted=_is_noted(client.last_seen_at, now) and _is_noted(found.last_used_at, now),
    )


def _find_client(name: str) -> StoredClient | None:
    if not name.isprintable():
        return None
    client = Client.objects.filter(name=name).first()
    if client is None:
        return None
    now = timezone.now()
    is_use_noted = _is_noted(client.last_seen_at, now)
    return StoredClient(client.pk, client.name, client.accepts_jwt, _refusal_of_client(client, now), is_use_noted)


def _refusal_of_credential(credential: Credential, now: datetime) -> str:
    if credential.revoked_at is not None:
        return f"client {credential.client.name}: credential {credential.pk} is revoked"
    if credential.expires_at is not None and credential.expires_at <= now:
        return f"client {credential.client.name}: credential {credential.pk} has expired"
    return ""


def _refusal_of_client(client: Client, now: datetime) -> str:
    if not client.is_active:
        return f"client {client.name} is not active"
    if client.expires_at is not None and client.expires_at <= now:
        return f"client {client.name} has expired"
    return ""


def _is_noted(last: datetime | None, now: datetime) -> bool:
    return last is not None and now - last < LAST_SEEN_INTERVAL


def _note_use(client_id: int, credential_id: int | None) -> None:
    now = timezone.now()
    try:
        Client.objects.filter(pk=client_id).update(last_seen_at=now)
        if credential_id is not None:
            Credential.objects.filter(pk=credential_id).update(last_used_at=now)
    except Error as exc:  # a database that only reads for now is no reason to refuse a client
        logger.warning("that client %s was seen could not be stored: %s", client_id, type(exc).__name__)


def _renew_lookup(stored: StoredCredential, lookup: str) -> None:
    try:
        Credential.objects.filter(pk=stored.credential_id, lookup=stored.lookup).update(lookup=lookup)
    except Error as exc:
        logger.warning("the lookup of credential %s could not be renewed: %s", stored.credential_id, type(exc).__name__)


def _unexpired(now: datetime) -> Q:
    return Q(expires_at=None) | Q(expires_at__gt=now)


def _entitlements(client_ids: Collection[int]) -> dict[ClientInApp, Entitlements]:
    now = timezone.now()
    grants = Grant.objects.filter(client__in=client_ids).select_related("client", "app")
    credentials: defaultdict[int, set[int]] = defaultdict(set)
    valid = Credential.objects.filter(_unexpired(now), client__in=client_ids, revoked_at=None)
    for client_id, pk in valid.values_list("client_id", "pk"):
        credentials[client_id].add(pk)
    stored = _stored(Q(client__in=client_ids))
    found = {}
    for grant in grants:
        key = ClientInApp(grant.client_id, grant.app.app_id)
        found[key] = Entitlements(
            is_active=not _refusal_of_client(grant.client, now),
            expires_at=grant.client.expires_at,
            shards=grant.shard_numbers(),
            credentials=frozenset(credentials[grant.client_id]),
            accepts_jwt=grant.client.accepts_jwt,
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


def _access_turns(app_id: str, since: int) -> Mapping[str, StoredTurn]:
    rows = AccessVersion.objects.filter(
        Q(cluster_time=None) | Q(cluster_time__gte=since), app__app_id=app_id
    ).order_by()
    return {
        nonce: StoredTurn(client_id, cluster_time)
        for nonce, client_id, cluster_time in rows.values_list("nonce", "client_id", "cluster_time")
    }


def _begin_access(key: ClientInApp, without_marker: bool) -> None:
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
            # As texts: to Python, 1 is True.
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


def _text(access: Any) -> str:
    """The same text for the same access."""
    return json.dumps(access, sort_keys=True, ensure_ascii=False)


def _record_refusals(counts: Mapping[Refused, int]) -> None:
    """Without a transaction around it, as processes that count the same do not wait for each other. A row is made with
    nothing counted where there is none, whoever comes first, and then counted up."""
    now = timezone.now()
    stored: Counter[Refused] = Counter()
    for refused, count in list(counts.items())[-MAX_REFUSALS:]:
        stored[_storable(refused)] += count
    keys = list(stored)
    for begin in range(0, len(keys), REFUSALS_AT_ONCE):
        _count_refusals({key: stored[key] for key in keys[begin : begin + REFUSALS_AT_ONCE]}, now)
    surplus = Refusal.objects.order_by("-last_seen", "-pk").values_list("pk", flat=True)[MAX_REFUSALS:]
    Refusal.objects.filter(pk__in=list(surplus)).delete()


def _count_refusals(counts: Mapping[Refused, int], now: datetime) -> None:
    Refusal.objects.bulk_create(
        [
            Refusal(
                address=refused.address,
                client=refused.client,
                code=refused.code,
                reason=refused.reason,
                count=0,
                first_seen=now,
                last_seen=now,
            )
            for refused in counts
        ],
        ignore_conflicts=True,
    )
    rows = Refusal.objects.filter(address__in={refused.address for refused in counts}).order_by()
    by_count: defaultdict[int, list[int]] = defaultdict(list)
    for pk, address, client, code, reason in rows.values_list("pk", "address", "client", "code", "reason"):
        if count := counts.get(Refused(address, client, code, reason)):
            by_count[count].append(pk)
    for count, pks in by_count.items():
        Refusal.objects.filter(pk__in=pks).update(count=F("count") + count, last_seen=now)


def _storable(refused: Refused) -> Refused:
    """As every database takes it."""
    return Refused(
        _storable_text(refused.address, MAX_ADDRESS_LENGTH),
        _storable_text(refused.client, MAX_CLIENT_LENGTH),
        refused.code,
        _storable_text(refused.reason, MAX_REASON_LENGTH),
    )


def _storable_text(text: str, max_length: int) -> str:
    """Cut, without NUL, which PostgreSQL refuses, and without lone surrogates, which UTF-8 cannot write."""
    printable = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", errors="replace").decode()
    return printable[:max_length]
