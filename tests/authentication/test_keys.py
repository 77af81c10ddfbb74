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


def test_a_text_may_hold_several_public_keys() -> None:
    """Each has the algorithm of its kind. Text between them is a comment."""
    text = f"ours:\n{pem('RS256')}\n{pem('ES256')}{pem('EdDSA')}"
    assert [key.algorithm for key in keys_of_settings(JwtSettings(keys=text))] == ["RS256", "ES256", "EdDSA"]


def test_pem_may_be_on_one_line() -> None:
    """Files of environment variables write \\n for the ends of lines."""
    [key] = keys_of_settings(JwtSettings(keys=pem("ES256").replace("\n", "\\n")))
    assert key.material == private_key("ES256").public_key()


def test_a_jwk_set_gives_keys_with_their_names() -> None:
    """A secret in the set of our own settings counts."""
    text = jwk_set(jwk("RS256", kid="r"), jwk("EdDSA"), jwk("HS256", kid="h", alg="HS256"))
    keys = keys_of_settings(JwtSettings(keys=text))
    assert kinds(keys) == [("r", "RS256"), (None, "EdDSA"), ("h", "HS256")]
    assert keys[2].material == SECRET.encode()


def test_the_keys_of_all_settings_count(tmp_path: Path) -> None:
    """Those of the secret, the text and the file."""
    file = tmp_path / "keys.json"
    file.write_text(jwk_set(jwk("ES256", kid="e")))
    keys = keys_of_settings(JwtSettings(secret=SECRET, keys=pem("RS256"), keys_file=str(file)))
    assert kinds(keys) == [(None, "HS256"), (None, "RS256"), ("e", "ES256")]


def test_the_private_part_of_a_jwk_is_ignored() -> None:
    """Only its public part is kept."""
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
def test_unusable_keys_of_a_published_set_are_ignored(unusable: object) -> None:
    """The others count. A secret that anyone can read is unusable."""
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
def test_an_unusable_setting_is_refused_by_name(settings: JwtSettings) -> None:
    """The message repeats nothing of its value."""
    with pytest.raises(InvalidJwtSettings, match=r"JWT_(SECRET|KEYS|KEYS_FILE) ") as refused:
        keys_of_settings(settings)
    assert "BEGIN" not in str(refused.value)
    assert "c2Vj" not in str(refused.value)


def test_the_repr_of_settings_and_keys_shows_no_key() -> None:
    """They may end up in a traceback."""
    settings = JwtSettings(secret=SECRET, keys=jwk_set(jwk("HS256")))
    shown = repr(settings) + repr(keys_of_settings(settings))
    assert SECRET not in shown
    assert jwk("HS256")["k"] not in shown
