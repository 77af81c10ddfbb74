"""Versions never change."""

import pytest

from changesource.models import Version
from changesource.models.draft import draft_definition
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db


@pytest.fixture
def version() -> Version:
    app = build_app()
    return Version.objects.create(app=app, number=1, definition=draft_definition(app).to_json())


def test_saving_again_is_refused(version: Version) -> None:
    """A stored version cannot be saved, whatever was changed."""
    version.number = 2
    with pytest.raises(TypeError):
        version.save()


def test_saving_a_loaded_version_is_refused(version: Version) -> None:
    """A version that was read from the database cannot be saved either."""
    with pytest.raises(TypeError):
        Version.objects.get().save()


def test_a_version_stores_the_definition_of_the_draft(version: Version) -> None:
    """A version gives back the definition that it was made of."""
    assert version.to_definition() == draft_definition(version.app)
