"""The keys that verify the signatures of JWTs. Each has one algorithm, whatever a token says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import AllowedPublicKeys

from changesource.conf import JwtSettings
from changesource.errors import InvalidJwtSettings

MIN_SECRET_BYTES = 32
"""RFC 7518: a key for HS256 is at least as long as its hash."""
MIN_RSA_BITS = 2048
MAX_KEYS = 100
"""How many keys a JWK set may have. Issuers have a few."""
MAX_KEYS_BYTES = 256 * 1024

_PUBLIC_FIELDS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key with its algorithm. `kid` is None for a key without a name. `material` is a public key,
    or the secret for HS256."""

    kid: str | None
    algorithm: str
    material: AllowedPublicKeys | bytes = field(repr=False)


@lru_cache(maxsize=4)
def keys_of_settings(settings: JwtSettings) -> tuple[VerificationKey, ...]:
    """The keys of all settings but the JWKS URL. A process reads the file once.

    Raises `InvalidJwtSettings`, which names the setting and repeats nothing of its value.
    """
    keys: list[VerificationKey] = []
    if settings.secret:
        keys.append(_secret_key(settings.secret.encode(), None, f"{settings.prefix}_SECRET"))
    if settings.keys:
        # Some files of environment variables have them on one line.
        keys += _read_keys(settings.keys.replace("\\n", "\n"), f"{settings.prefix}_KEYS")
    if settings.keys_file:
        setting = f"{settings.prefix}_KEYS_FILE"
        keys += _read_keys(_file_text(settings.keys_file, setting), setting)
    return tuple(keys)


def public_keys(jwk_set: str | bytes) -> tuple[VerificationKey, ...]:
    """The public keys of a JWK set that anyone may read. Secrets in it are useless, and keys that
    are not understood are ignored (RFC 7517, 5). Raises `InvalidJwtSettings`."""
    return tuple(key for jwk in _members(jwk_set, "The JWK set") if (key := _public_key_of(jwk)) is not None)


def _read_keys(text: str, setting: str) -> Iterator[VerificationKey]:
    if len(text) > MAX_KEYS_BYTES:
        raise InvalidJwtSettings(f"{setting} holds more than {MAX_KEYS_BYTES} characters.")
    if text.lstrip().startswith("{"):
        keys = list(_keys_of_set(text, setting))
    else:
        keys = [_key_of_pem(match.group(0), match.group(1), setting) for match in _PEM_BLOCK.finditer(text)]
    if not keys:
        raise InvalidJwtSettings(f"{setting} holds no key that can be used: write PEM public keys or a JWK set.")
    yield from keys


def _file_text(path: str, setting: str) -> str:
    try:
        with Path(path).open(encoding="utf-8") as file:
            return file.read(MAX_KEYS_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InvalidJwtSettings(f"{setting} cannot be read ({type(error).__name__}).") from error


def _key_of_pem(block: str, label: str, setting: str) -> VerificationKey:
    if "PUBLIC KEY" not in label:
        raise InvalidJwtSettings(
            f"{setting} holds a PEM block that is not a PUBLIC KEY. Private keys stay with the issuer."
        )
    try:
        material = load_pem_public_key(block.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidJwtSettings(f"{setting} holds a PEM block that cannot be read.") from error
    algorithm = _algorithm_of(material)
    if algorithm is None:
        raise InvalidJwtSettings(
            f"{setting} holds a public key that is none of: RSA of {MIN_RSA_BITS} bits or more, EC on P-256, Ed25519, Ed448."
        )
    return VerificationKey(None, algorithm, material)  # type: ignore[arg-type]


def _keys_of_set(text: str, setting: str) -> Iterator[VerificationKey]:
    for jwk in _members(text, setting):
        if jwk.get("kty") == "oct" and _is_for_signatures(jwk, "HS256"):
            yield _secret_key(_secret_of(jwk, setting), _kid_of(jwk), setting)
        elif (key := _public_key_of(jwk)) is not None:
            yield key


def _members(text: str | bytes, what: str) -> list[dict[str, Any]]:
    try:
        jwk_set = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidJwtSettings(f"{what} is not JSON.") from error
    members = jwk_set.get("keys") if isinstance(jwk_set, dict) else None
    if not isinstance(members, list) or len(members) > MAX_KEYS:
        raise InvalidJwtSettings(f'{what} is not a JWK set with at most {MAX_KEYS} keys: {{"keys": […]}}.')
    return [member for member in members if isinstance(member, dict)]


def _public_key_of(jwk: dict[str, Any]) -> VerificationKey | None:
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in _PUBLIC_FIELDS:
        return None
    algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}[kind]
    if not _is_for_signatures(jwk, algorithm):
        return None
    try:
        # Only the public fields, in case a private key was left there.
        fields = {name: jwk[name] for name in _PUBLIC_FIELDS[kind]}
        material = jwt.PyJWK(fields, algorithm).key
    except (KeyError, ValueError, TypeError, UnsupportedAlgorithm, jwt.PyJWTError):
        return None
    return VerificationKey(_kid_of(jwk), algorithm, material) if _algorithm_of(material) == algorithm else None


def _is_for_signatures(jwk: dict[str, Any], algorithm: str) -> bool:
    operations = jwk.get("key_ops")
    return (
        jwk.get("use") in (None, "sig")
        and (operations is None or (isinstance(operations, list) and "verify" in operations))
        and jwk.get("alg") in (None, algorithm)
    )


def _secret_of(jwk: dict[str, Any], setting: str) -> bytes:
    try:
        secret = jwt.PyJWK({"kty": "oct", "k": jwk.get("k")}, "HS256").key
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        raise InvalidJwtSettings(f"{setting} holds a key of the kind oct that cannot be read.") from error
    return bytes(secret)


def _secret_key(secret: bytes, kid: str | None, setting: str) -> VerificationKey:
    if len(secret) < MIN_SECRET_BYTES:
        raise InvalidJwtSettings(f"{setting} gives HS256 a key of less than {MIN_SECRET_BYTES} bytes.")
    try:
        jwt.get_algorithm_by_name("HS256").prepare_key(secret)
    except jwt.InvalidKeyError as error:
        raise InvalidJwtSettings(
            f"{setting} gives HS256 what looks like a public key. Public keys go into the setting that ends in _KEYS."
        ) from error
    return VerificationKey(kid, "HS256", secret)


def _kid_of(jwk: dict[str, Any]) -> str | None:
    kid = jwk.get("kid")
    return kid if isinstance(kid, str) and kid else None


def _algorithm_of(material: object) -> str | None:
    match material:
        case RSAPublicKey() if material.key_size >= MIN_RSA_BITS:
            return "RS256"
        case EllipticCurvePublicKey() if isinstance(material.curve, SECP256R1):
            return "ES256"
        case Ed25519PublicKey() | Ed448PublicKey():
            return "EdDSA"
        case _:
            return None
