"""Credentials: tokens of which only hashes are stored."""

from typing import Any

import pytest
from django.contrib.auth.hashers import check_password
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from changesource.models import Client, Credential
from changesource.models.credential import digest_of, lookup_of, lookups_of


@pytest.fixture
def client(db: None) -> Client:
    return Client.objects.create_for_apps("cache", [])


def test_token_is_not_stored(client: Client) -> None:
    """The database holds a keyed digest and a slow hash of the token; the token, and its plain digest, nowhere."""
    _, token = Credential.objects.issue(client)
    stored = Credential.objects.values().get()
    assert stored["lookup"] == lookup_of(digest_of(token))
    assert check_password(digest_of(token), stored["hash"])
    assert token not in str(stored)
    assert digest_of(token) not in str(stored)


def test_tokens_differ(client: Client) -> None:
    """Every token is new, and a client has all of them."""
    assert len({Credential.objects.issue(client)[1] for _ in range(3)}) == 3
    assert client.credentials.count() == 3


@pytest.mark.parametrize("label", ["x" * 101, "a\0b", "a\nb", "\ud800"])
def test_bad_label(client: Client, label: str) -> None:
    """A label that could not be stored or shown is refused, and no credential is made."""
    with pytest.raises(ValidationError):
        Credential.objects.issue(client, label)
    assert not client.credentials.exists()


def test_revoked_ones_stay(client: Client) -> None:
    """A credential that is revoked is kept, to tell of."""
    credential, _ = Credential.objects.issue(client)
    credential.revoke()
    credential.refresh_from_db()
    assert credential.revoked_at is not None


def test_lookups_while_the_secret_key_is_changed(settings: Any) -> None:
    """The first is by the key that is new, others are by keys that were."""
    old = lookup_of(digest_of("token"))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another for tests only", [settings.SECRET_KEY]
    assert lookups_of(digest_of("token")) == [lookup_of(digest_of("token")), old]
    assert lookup_of(digest_of("token")) != old


@given(st.text(st.characters()))
def test_any_text_has_a_digest(text: str) -> None:
    """What stands in a URL in place of a token never raises, also not lone surrogates."""
    assert len(digest_of(text)) == 64
