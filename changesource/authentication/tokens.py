"""Whose token it is."""

from __future__ import annotations

from changesource.authentication.credentials import identity_of_credential
from changesource.authentication.json_web_tokens import identity_of_jwt, is_jwt
from changesource.conf import load_settings
from changesource.errors import TokenRefused
from changesource.models.client_store import Identity
from changesource.protocol.requests import MAX_TOKEN_LENGTH


async def authenticate(token: str) -> Identity:
    """Whose `token` this is: a JWT is known by its two dots, which no token of ours has.

    Raises `TokenRefused` with a reason for our own log, which holds nothing of the token, and `django.db.Error` when the
    database does not answer. Whoever connects must learn no more than that it was refused.

    What a refusal takes tells nothing either. An unknown token costs a keyed digest and one query by an index; one that is
    known but revoked or expired costs the same, as the slow hash is for those that may come in. How far a wrong look-up
    agrees with a stored one depends on SECRET_KEY, which nobody outside knows, so that the index has no hint to give. A
    JWT reaches the database only when its signature is right.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenRefused(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
    if is_jwt(token):
        return await identity_of_jwt(token, load_settings().jwt)
    return await identity_of_credential(token)
