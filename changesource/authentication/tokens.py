"""Which client a token belongs to."""

from __future__ import annotations

from changesource.authentication.credentials import identity_of_credential
from changesource.authentication.json_web_tokens import identity_of_jwt, is_jwt
from changesource.conf import load_settings
from changesource.errors import TokenRefused
from changesource.models.queries.clients import Identity
from changesource.protocol.requests import MAX_TOKEN_LENGTH


async def authenticate(token: str) -> Identity:
    """The identity that `token` belongs to. A JWT is recognised by its two dots, which no token of
    ours has.

    Raises `TokenRefused` with a reason for our own log, which holds nothing of the token, and
    `django.db.Error` when the database does not answer. A client that is refused must not learn
    why.

    Nor does the time that a refusal takes tell. An unknown token costs a keyed digest and one query
    by an index, and so does one that is revoked or expired. How far a wrong lookup agrees with a
    stored one depends on SECRET_KEY, which no outsider knows, so the index gives no hint. A JWT
    reaches the database only if its signature is right.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenRefused(f"the token is longer than {MAX_TOKEN_LENGTH} characters")
    if is_jwt(token):
        return await identity_of_jwt(token, load_settings())
    return await identity_of_credential(token)
