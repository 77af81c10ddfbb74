"""JWTs: an issuer has signed them, and their claims name the client and its attributes, or the user.

Those of clients (`JWT_`) and those of users (`USER_JWT_`) differ by their audience. A JWT for both is
accepted as neither, and none is accepted while both settings have the same audience: a user whose
`sub` is the name of a client could otherwise open a change stream.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import jwt

from changesource.authentication.claims import attribute_claims, attributes_of
from changesource.authentication.keys import VerificationKey, keys_of_settings
from changesource.authentication.remote_keys import remote_keys
from changesource.conf import ChangeSourceSettings, JwtSettings
from changesource.errors import InvalidJwtSettings, TokenRefused
from changesource.models import queries
from changesource.models.queries.clients import Identity

logger = logging.getLogger(__name__)

LEEWAY_SECONDS = 30
"""How far the issuer's clock may be ahead (`nbf`, `iat`). `exp` has no leeway: streams end at it,
so a later connection would be closed at once."""

_REASONS: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet (nbf or iat)",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is from another issuer",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.MissingRequiredClaimError: "exp, iss or aud is missing",
}
"""Fixed texts, because PyJWT's own may repeat parts of the token."""


def is_jwt(token: str) -> bool:
    """Whether `token` has the form of a signed JWT: three parts separated by dots."""
    return token.count(".") == 2


async def identity_of_jwt(token: str, all_settings: ChangeSourceSettings) -> Identity:
    """The identity of the client that `token` names, if it accepts JWTs. Raises `TokenRefused`."""
    settings = all_settings.jwt
    if not settings.is_on:
        raise TokenRefused("a JWT, but no keys for JWTs are configured")
    try:
        names = attribute_claims(settings.attributes)
        claims = await verified_claims(token, settings, all_settings.user_jwt)
    except InvalidJwtSettings as error:
        logger.error("JWTs cannot be accepted: %s", error)
        raise TokenRefused("a JWT, but the settings for JWTs are wrong; manage.py check says how") from error
    expires_at = _expiry(claims)
    client = await queries.clients.find_client(_client_name(claims, settings))
    if client is None:
        raise TokenRefused(f"a JWT whose claim {settings.client_claim} names no client")
    if client.refusal or not client.accepts_jwt:
        reason = client.refusal or f"client {client.name} does not accept JWTs"
        raise TokenRefused(reason, client=client.name)
    if not client.is_use_noted:
        await queries.clients.note_use(client.client_id)
    return Identity(client.client_id, client.name, attributes=attributes_of(claims, names), expires_at=expires_at)


async def verified_claims(token: str, settings: JwtSettings, other: JwtSettings) -> dict[str, Any]:
    """All claims of `token`, which is signed, in force, and for the audience of `settings` alone.

    `other` are the settings of the other kind of JWTs. Raises `TokenRefused`, and
    `InvalidJwtSettings` if no token can be accepted with these settings.
    """
    if not settings.audience or not settings.issuer:
        raise InvalidJwtSettings(f"{settings.prefix}_AUDIENCE or {settings.prefix}_ISSUER is missing.")
    if are_confusable(settings, other):
        raise InvalidJwtSettings("JWT_AUDIENCE and USER_JWT_AUDIENCE are the same.")
    claims = await _decoded(token, settings)
    _expiry(claims)
    if other.is_on and other.audience in _audiences(claims):
        raise TokenRefused("a JWT: it is for JWT_AUDIENCE and for USER_JWT_AUDIENCE at once")
    return claims


def are_confusable(settings: JwtSettings, other: JwtSettings) -> bool:
    """Whether JWTs of one kind cannot be told from those of the other."""
    return settings.is_on and other.is_on and settings.audience != "" and settings.audience == other.audience


async def _decoded(token: str, settings: JwtSettings) -> dict[str, Any]:
    reason = "its signature is wrong"
    for key in await _candidates(token, settings):
        try:
            return jwt.decode(
                token,
                key.material,
                # The algorithm of the key, never of the token: a public key must not serve as the
                # secret of an HMAC.
                algorithms=[key.algorithm],
                audience=settings.audience,
                issuer=settings.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError as error:
            reason = _REASONS.get(type(error), "it is malformed")
            break
    raise TokenRefused(f"a JWT: {reason}")


async def _candidates(token: str, settings: JwtSettings) -> list[VerificationKey]:
    """The keys that may have signed `token`: those with its algorithm, and with its `kid` if both
    have one. Raises `TokenRefused`."""
    header = _header(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in settings.algorithms:
        raise TokenRefused(f"a JWT: its algorithm is not among {settings.prefix}_ALGORITHMS")
    keys = list(keys_of_settings(settings))
    if settings.jwks_url and not any(key.kid == kid and key.algorithm == algorithm for key in keys if key.kid):
        keys += await remote_keys(settings.jwks_url, f"{settings.prefix}_JWKS_URL").keys_for(kid)
    fitting = [key for key in keys if key.algorithm == algorithm and (not kid or not key.kid or key.kid == kid)]
    if not fitting:
        raise TokenRefused("a JWT: no key has its algorithm and its kid")
    return fitting


def _header(token: str) -> dict[str, Any]:
    try:
        return jwt.get_unverified_header(token)
    except (jwt.PyJWTError, UnicodeEncodeError) as error:
        raise TokenRefused("a JWT: it is malformed") from error


def _audiences(claims: Mapping[str, Any]) -> list[str]:
    audience = claims["aud"]
    return audience if isinstance(audience, list) else [audience]


def _expiry(claims: Mapping[str, Any]) -> datetime:
    expiry = claims["exp"]
    if isinstance(expiry, bool) or not isinstance(expiry, int | float):
        raise TokenRefused("a JWT: its exp is not a number")
    try:
        expires_at = datetime.fromtimestamp(expiry, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise TokenRefused("a JWT: its exp is out of range") from error
    if expires_at <= datetime.now(UTC):
        raise TokenRefused("a JWT: it has expired")
    return expires_at


def _client_name(claims: Mapping[str, Any], settings: JwtSettings) -> str:
    name = claims.get(settings.client_claim)
    if not isinstance(name, str):
        raise TokenRefused(f"a JWT whose claim {settings.client_claim} names no client")
    return name
