"""Random tokens: found by a keyed digest, proven by the slow hash."""

from __future__ import annotations

from changesource.authentication.slow_hash import SlowHash
from changesource.errors import TokenRefused
from changesource.models import client_store
from changesource.models.client_store import Identity
from changesource.models.credential import digest_of, lookup_of

_slow_hash = SlowHash()


async def identity_of_credential(token: str) -> Identity:
    """Whose `token` this is. Raises `TokenRefused`."""
    digest = digest_of(token)
    stored = await client_store.find_credential(digest)
    if stored is None:
        raise TokenRefused("unknown token")
    if stored.refusal:
        raise TokenRefused(stored.refusal, client=stored.client_name)
    proof = await _slow_hash.prove(stored.credential_id, stored.hash, digest)
    if not proof.is_right:
        raise TokenRefused(
            f"client {stored.client_name}: the hash of credential {stored.credential_id} is of another token; issue a "
            "new credential",
            client=stored.client_name,
        )
    lookup = lookup_of(digest)
    if proof.better_hash is not None or lookup != stored.lookup:
        await client_store.renew_credential(stored, lookup=lookup, hash=proof.better_hash or stored.hash)
    if not stored.is_use_noted:
        await client_store.note_use(stored.client_id, stored.credential_id)
    return Identity(stored.client_id, stored.client_name, stored.credential_id, expires_at=stored.expires_at)
