"""Credentials, found by what is stored of their tokens."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime

from django.db import Error
from django.utils import timezone

from changesource.models.credential import Credential, lookups_of
from changesource.models.database_threads import AUTHENTICATION
from changesource.models.queries.clients import is_noted, refusal_of_client

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """A credential and its client. `refusal` says why the credential opens no stream now, for our
    own log, and is empty if it does. `is_use_noted` is as in `StoredClient`."""

    credential_id: int
    client_id: int
    client_name: str
    lookup: str = field(repr=False)
    expires_at: datetime | None
    refusal: str
    is_use_noted: bool


@AUTHENTICATION.query
def find_credential(digest: str) -> StoredCredential | None:
    """The credential of the token with this digest (`models.credential.digest_of`), valid or
    not."""
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
        refusal=_refusal_of_credential(found, now) or refusal_of_client(client, now),
        is_use_noted=is_noted(client.last_seen_at, now) and is_noted(found.last_used_at, now),
    )


@AUTHENTICATION.query
def renew_lookup(stored: StoredCredential, lookup: str) -> None:
    """Replaces the lookup that is `stored`, unless another process has replaced it already."""
    try:
        Credential.objects.filter(pk=stored.credential_id, lookup=stored.lookup).update(lookup=lookup)
    except Error as exc:
        logger.warning("the lookup of credential %s could not be renewed: %s", stored.credential_id, type(exc).__name__)


def _refusal_of_credential(credential: Credential, now: datetime) -> str:
    if credential.revoked_at is not None:
        return f"client {credential.client.name}: credential {credential.pk} is revoked"
    if credential.expires_at is not None and credential.expires_at <= now:
        return f"client {credential.client.name}: credential {credential.pk} has expired"
    return ""
