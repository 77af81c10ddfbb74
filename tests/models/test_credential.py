"""Credentials: tokens of which only keyed digests are stored."""

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from changesource.models import Client, Credential
from changesource.models.credential import digest_of, lookup_of, lookups_of


@pytest.fixture
def client(db: None) -> Client:
    return Client.objects.create_for_apps("cache", [])


def test_only_a_keyed_digest_of_a_token_is_stored(client: Client) -> None:
    """Neither the token nor its plain digest is anywhere in the row."""
    _, token = Credential.objects.issue(client)
    stored = Credential.objects.values().get()
    assert stored["lookup"] == lookup_of(digest_of(token))
    assert token not in str(stored)
    assert digest_of(token) not in str(stored)


def test_every_token_is_another_one(client: Client) -> None:
    """A client keeps all of its credentials."""
    assert len({Credential.objects.issue(client)[1] for _ in range(3)}) == 3
    assert client.credentials.count() == 3


@pytest.mark.parametrize("label", ["x" * 101, "a\0b", "a\nb", "\ud800"])
def test_a_bad_label_is_refused(client: Client, label: str) -> None:
    """No credential is made with a label that could not be stored or shown."""
    with pytest.raises(ValidationError):
        Credential.objects.issue(client, label)
    assert not client.credentials.exists()


def test_a_revoked_credential_stays_as_a_record(client: Client) -> None:
    """The row is kept, with the time."""
    credential, _ = Credential.objects.issue(client)
    credential.revoke()
    credential.refresh_from_db()
    assert credential.revoked_at is not None


def test_a_token_has_a_lookup_by_each_secret_key(settings: Any) -> None:
    """The first is by the new key, the others are by former keys."""
    old = lookup_of(digest_of("token"))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another for tests only", [settings.SECRET_KEY]
    assert lookups_of(digest_of("token")) == [lookup_of(digest_of("token")), old]
    assert lookup_of(digest_of("token")) != old


@given(st.text(st.characters()))
def test_any_text_has_a_digest(text: str) -> None:
    """Whatever a URL holds in place of a token, nothing is raised, not even for lone surrogates."""
    assert len(digest_of(text)) == 64
