"""Clients and their tokens."""

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from changesource.models import Client
from changesource.models.client import digest_of
from tests.models.builders import build_app


@pytest.mark.django_db
def test_token_is_not_stored() -> None:
    """The database holds a digest of the token, and the token nowhere."""
    _, token = Client.objects.create_with_token("cache", [build_app()])
    stored = Client.objects.values().get()
    assert stored["token_digest"] == digest_of(token)
    assert token not in str(stored)


@pytest.mark.django_db
def test_tokens_differ() -> None:
    """Every token is new."""
    client, token = Client.objects.create_with_token("cache", [])
    assert len({token, client.renew_token(), client.renew_token()}) == 3


@pytest.mark.django_db
def test_apps() -> None:
    """A client may read the apps that it was created with."""
    app = build_app()
    client, _ = Client.objects.create_with_token("cache", [app])
    assert list(client.apps.all()) == [app]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "x" * 101, "a\0b", "a\nb", "\ud800"])
def test_bad_name(name: str) -> None:
    """A name that could not be stored or shown is refused."""
    with pytest.raises(ValidationError):
        Client.objects.create_with_token(name, [])


@pytest.mark.django_db
def test_taken_name() -> None:
    """Names are unique."""
    Client.objects.create_with_token("cache", [])
    with pytest.raises(ValidationError, match="already exists"):
        Client.objects.create_with_token("cache", [])


@given(st.text(st.characters()))
def test_any_text_has_a_digest(text: str) -> None:
    """What stands in a URL in place of a token never raises, also not lone surrogates."""
    assert len(digest_of(text)) == 64
