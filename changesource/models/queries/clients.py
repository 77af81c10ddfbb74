"""Clients, and when they were last seen."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import Error
from django.utils import timezone

from changesource.models.client import Client
from changesource.models.credential import Credential
from changesource.models.database_threads import AUTHENTICATION

logger = logging.getLogger(__name__)

LAST_SEEN_INTERVAL = timedelta(minutes=1)
"""How exact `last_seen_at` and `last_used_at` are. zero-cache may reconnect every 25 ms, which is
no reason to write."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The client that connected. `credential_id` is None if it presented a JWT, whose claims gave
    `attributes`; these take precedence over the client's own. `expires_at` is when the credential
    or the token expires."""

    client_id: int
    name: str
    credential_id: int | None = None
    attributes: tuple[tuple[str, Any], ...] = ()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StoredClient:
    """A client that a JWT names. `refusal` says why it must not connect now, for our own log, and
    is empty if it may. `is_use_noted`: its last use has been stored within `LAST_SEEN_INTERVAL`."""

    client_id: int
    name: str
    accepts_jwt: bool
    refusal: str
    is_use_noted: bool


@AUTHENTICATION.query
def find_client(name: str) -> StoredClient | None:
    """The client with this name, whether it may connect or not. None for any other text, including
    text that no database could look up."""
    if not name.isprintable():
        return None
    client = Client.objects.filter(name=name).first()
    if client is None:
        return None
    now = timezone.now()
    is_use_noted = is_noted(client.last_seen_at, now)
    return StoredClient(client.pk, client.name, client.accepts_jwt, refusal_of_client(client, now), is_use_noted)


@AUTHENTICATION.query
def note_use(client_id: int, credential_id: int | None = None) -> None:
    """Stores that the client connected now, and with which credential."""
    now = timezone.now()
    try:
        Client.objects.filter(pk=client_id).update(last_seen_at=now)
        if credential_id is not None:
            Credential.objects.filter(pk=credential_id).update(last_used_at=now)
    except Error as exc:  # a database that is read-only for now is no reason to refuse a client
        logger.warning("that client %s was seen could not be stored: %s", client_id, type(exc).__name__)


def refusal_of_client(client: Client, now: datetime) -> str:
    """Why `client` must not connect; empty if it may."""
    if not client.is_active:
        return f"client {client.name} is not active"
    if client.expires_at is not None and client.expires_at <= now:
        return f"client {client.name} has expired"
    return ""


def is_noted(last: datetime | None, now: datetime) -> bool:
    return last is not None and now - last < LAST_SEEN_INTERVAL
