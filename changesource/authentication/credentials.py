"""Random tokens. A token has 256 random bits, so its keyed digest both finds and proves the
credential."""

from __future__ import annotations

from django.utils.crypto import constant_time_compare

from changesource.errors import TokenRefused
from changesource.models import queries
from changesource.models.credential import digest_of, lookups_of
from changesource.models.queries.clients import Identity


async def identity_of_credential(token: str) -> Identity:
    """The identity that `token` belongs to. Raises `TokenRefused`."""
    digest = digest_of(token)
    stored = await queries.credentials.find_credential(digest)
    lookups = lookups_of(digest)
    # A database with a collation that ignores case would find other lookups as well.
    if stored is None or not any(constant_time_compare(stored.lookup, lookup) for lookup in lookups):
        raise TokenRefused("unknown token")
    if stored.refusal:
        raise TokenRefused(stored.refusal, client=stored.client_name)
    newest_lookup = lookups[0]
    if stored.lookup != newest_lookup:
        await queries.credentials.renew_lookup(stored, newest_lookup)
    if not stored.is_use_noted:
        await queries.clients.note_use(stored.client_id, stored.credential_id)
    return Identity(stored.client_id, stored.client_name, stored.credential_id, expires_at=stored.expires_at)
