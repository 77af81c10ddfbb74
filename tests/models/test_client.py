"""Clients and their grants."""

import pytest
from django.core.exceptions import ValidationError

from changesource.models import Client
from tests.models.builders import build_app


@pytest.mark.django_db
def test_a_new_client_may_read_its_apps() -> None:
    """A client may read all tables of the apps that it was created with, by no credential and no JWT yet."""
    app = build_app()
    client = Client.objects.create_for_apps("cache", [app])
    assert list(client.apps.all()) == [app]
    assert client.grants.get().access() == {"tables": None, "rowFilters": "", "attributes": {}}
    assert not client.credentials.exists()
    assert not client.accepts_jwt


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "x" * 101, "a\0b", "a\nb", "\ud800"])
def test_a_bad_name_is_refused(name: str) -> None:
    """A name that could not be stored or shown is refused."""
    with pytest.raises(ValidationError):
        Client.objects.create_for_apps(name, [])


@pytest.mark.django_db
def test_a_taken_name_is_refused() -> None:
    """Names are unique."""
    Client.objects.create_for_apps("cache", [])
    with pytest.raises(ValidationError, match="already exists"):
        Client.objects.create_for_apps("cache", [])
