"""Claims as people give them."""

import base64
import json
from typing import Any

import pytest

from changesource.errors import InvalidClaims
from changesource.streaming.rule_trial import claims_of_token, read_claims


def token(payload: Any) -> str:
    """A JWT with a signature that nobody has made."""
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (b"{}", payload, b"forged"))


@pytest.mark.parametrize("claims", [{"sub": "ada"}, {"sub": "à?>", "n": [1]}, {}])
def test_token(claims: dict[str, Any]) -> None:
    """The claims of a token are its payload, whoever has signed it, of any length."""
    assert claims_of_token(token(json.dumps(claims).encode())) == claims


@pytest.mark.parametrize(
    "text", ["", "a.b", "a.b.c.d", "a.!!!.c", token(b"[1]"), token(b"\xff\xfe"), token(b"{"), "a.ä.c"]
)
def test_no_token(text: str) -> None:
    """What is no JWT is refused, and nothing of it is in the message."""
    with pytest.raises(InvalidClaims) as caught:
        claims_of_token(text)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"secret": NaN}', '{"secret": "\\u0000"}'])
def test_bad_claims(text: str) -> None:
    """Claims are a JSON object; nothing of them is in the message."""
    with pytest.raises(InvalidClaims) as caught:
        read_claims(text)
    assert "secret" not in str(caught.value)
