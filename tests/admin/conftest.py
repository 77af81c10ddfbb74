import pytest
from django.contrib.auth.models import User
from django.test import Client as Browser

from changesource.models import App
from tests.models.builders import build_app
from tests.mongo.impatience import do_not_wait


@pytest.fixture(autouse=True)
def configuration(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://me:secret@localhost/shop"}


@pytest.fixture(autouse=True)
def impatience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a source that is not there."""
    if "mongo_server" not in request.fixturenames:
        do_not_wait(monkeypatch)


@pytest.fixture
def user(db) -> User:
    return User.objects.create_superuser("ada")


@pytest.fixture
def browser(user: User) -> Browser:
    """Ada's, logged in; she may do everything."""
    browser = Browser()
    browser.force_login(user)
    return browser


@pytest.fixture
def app(db) -> App:
    return build_app()
