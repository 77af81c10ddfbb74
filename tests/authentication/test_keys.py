"""changesource/authentication/keys.py"""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from changesource.authentication.keys import keys_of_settings, public_keys
from changesource.conf import JwtSettings
from changesource.errors import InvalidJwtSettings
from tests.authentication.issuer import SECRET, jwk, pem, private_key


def spki(key) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def jwk_set(*keys: object) -> str:
    return json.dumps({"keys": keys})


def kinds(keys) -> list[tuple[str | None, str]]:
    return [(key.kid, key.algorithm) for key in keys]


def test_pem_blocks() -> None:
    """Several public keys in one text, each with the algorithm of its kind; text between them is a comment."""
    text = f"ours:\n{pem('RS256')}\n{pem('ES256')}{pem('EdDSA')}"
    assert [key.algorithm for key in keys_of_settings(JwtSettings(keys=text))] == ["RS256", "ES256", "EdDSA"]


def test_pem_on_one_line() -> None:
    r"""As a file of environment variables has it: \n for the ends of lines."""
    [key] = keys_of_settings(JwtSettings(keys=pem("ES256").replace("\n", "\\n")))
    assert key.material == private_key("ES256").public_key()


def test_jwk_set() -> None:
    """Keys with their names; a secret among ours is one."""
    text = jwk_set(jwk("RS256", kid="r"), jwk("EdDSA"), jwk("HS256", kid="h", alg="HS256"))
    keys = keys_of_settings(JwtSettings(keys=text))
    assert kinds(keys) == [("r", "RS256"), (None, "EdDSA"), ("h", "HS256")]
    assert keys[2].material == SECRET.encode()


def test_all_settings_together(tmp_path: Path) -> None:
    """The secret, the text and the file."""
    file = tmp_path / "keys.json"
    file.write_text(jwk_set(jwk("ES256", kid="e")))
    keys = keys_of_settings(JwtSettings(secret=SECRET, keys=pem("RS256"), keys_file=str(file)))
    assert kinds(keys) == [(None, "HS256"), (None, "RS256"), ("e", "ES256")]


def test_private_parts_are_left() -> None:
    """Of a private key in a JWK set only what is public is kept."""
    keys = public_keys(
        jwk_set(
            jwk("RS256", private=True, key_ops=["sign", "verify"]),
            jwk("ES256", private=True),
            jwk("EdDSA", private=True),
        )
    )
    assert not any(hasattr(key.material, "private_bytes") for key in keys)
    assert len(keys) == 3


@pytest.mark.parametrize(
    "unusable",
    [
        jwk("HS256"),
        jwk("RS256", use="enc"),
        jwk("RS256", alg="RS512"),
        jwk("RS256", key_ops=["encrypt"]),
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": "RSA", "n": 1, "e": []},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
        {"kty": "from the future"},
        {"kty": ["RSA"]},
        {},
        "key",
        None,
    ],
)
def test_what_is_left_out(unusable: object) -> None:
    """A public JWK set may hold what we cannot use: the rest of it counts. A secret that everybody can read is none."""
    assert kinds(public_keys(jwk_set(unusable, jwk("ES256", kid="e")))) == [("e", "ES256")]


SMALL_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 (that it is weak is the point)


@pytest.mark.parametrize(
    "settings",
    [
        JwtSettings(secret="s" * 31),
        JwtSettings(secret=pem("RS256")),
        JwtSettings(keys="no key"),
        JwtSettings(keys="-----BEGIN PUBLIC KEY-----\nc2VjcmV0\n-----END PUBLIC KEY-----"),
        JwtSettings(
            keys=private_key("ES256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        ),
        JwtSettings(keys=spki(SMALL_RSA)),
        JwtSettings(keys=spki(ec.generate_private_key(ec.SECP384R1()))),
        JwtSettings(keys=jwk_set()),
        JwtSettings(keys=jwk_set(jwk("RS256", use="enc"))),
        JwtSettings(keys=jwk_set({"kty": "oct", "k": "c2VjcmV0"})),
        JwtSettings(keys=jwk_set({"kty": "oct", "k": "!!!"})),
        JwtSettings(keys=jwk_set({"kty": "oct"})),
        JwtSettings(keys=jwk_set(*[jwk("ES256")] * 101)),
        JwtSettings(keys='{"keys": {"secret": 1}}'),
        JwtSettings(keys='{"secret": '),
        JwtSettings(keys="[" * 100_000),
        JwtSettings(keys="{" * 300_000),
        JwtSettings(keys_file="/nowhere/at/all"),
        JwtSettings(keys_file="/"),
    ],
)
def test_unusable_settings(settings: JwtSettings) -> None:
    """Refused with the name of the setting, and nothing of what it holds."""
    with pytest.raises(InvalidJwtSettings, match=r"JWT_(SECRET|KEYS|KEYS_FILE) ") as refused:
        keys_of_settings(settings)
    assert "BEGIN" not in str(refused.value)
    assert "c2Vj" not in str(refused.value)


def test_nothing_of_a_key_is_shown() -> None:
    """Settings and keys may end in a traceback."""
    settings = JwtSettings(secret=SECRET, keys=jwk_set(jwk("HS256")))
    shown = repr(settings) + repr(keys_of_settings(settings))
    assert SECRET not in shown
    assert jwk("HS256")["k"] not in shown
