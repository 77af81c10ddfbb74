"""`GET /api/apps/<app>/snapshots`."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from changesource.models import App, Client, RunningSnapshot
from tests.admin.pages import url
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db

ADDRESS = "/api/apps/shop/snapshots"


@pytest.fixture(autouse=True)
def surroundings(settings, tmp_path) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}
    settings.STATIC_ROOT = str(tmp_path)  # WhiteNoise warns of a folder that is missing before collectstatic


@pytest.fixture
def app() -> App:
    return build_app()


@pytest.fixture
def user(client) -> User:
    """Staff who may see apps, logged in."""
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_app", "view_runningsnapshot"]))
    client.force_login(user)
    return user


def build_snapshot(app: App, token: str, seconds_ago: float = 0, **values: Any) -> RunningSnapshot:
    """One that began 20 seconds before it was last heard of, which is some seconds ago."""
    noted_at = timezone.now() - timedelta(seconds=seconds_ago)
    client, _ = Client.objects.get_or_create(name="cache")
    began_at = noted_at - timedelta(seconds=20)
    defaults: dict[str, Any] = {"asked_at": began_at, "began_at": began_at, "noted_at": noted_at}
    return RunningSnapshot.objects.create(app=app, client=client, token=token, shard_num=3, **{**defaults, **values})


def test_progress(client, app: App, user: User) -> None:
    """Rows, rate and time left of what is being read, what is being closed, and who waits."""
    build_snapshot(app, "a", rows=1_000, documents=500, total_documents=2_000)
    build_snapshot(app, "b", rows=1_000, documents=500, total_documents=490)
    build_snapshot(app, "c", began_at=None)
    reading, closing, waiting = client.get(ADDRESS).json()
    assert {key: reading[key] for key in ("client", "shard", "state", "rows", "documents", "totalDocuments")} == {
        "client": "cache",
        "shard": 3,
        "state": "reading",
        "rows": 1_000,
        "documents": 500,
        "totalDocuments": 2_000,
    }
    assert (reading["rowsPerSecond"], reading["secondsLeft"]) == (50, 60)
    assert (closing["state"], closing["secondsLeft"]) == ("closing", 0)
    assert (waiting["state"], waiting["rowsPerSecond"], waiting["secondsLeft"]) == ("waiting", 0, None)


def test_of_this_app(client, app: App, user: User) -> None:
    """Other apps' snapshots are not among them, nor those of a process that has died."""
    build_snapshot(build_app("other"), "a")
    build_snapshot(app, "b", seconds_ago=40)
    assert client.get(ADDRESS).json() == []


def test_admin(client, app: App, user: User) -> None:
    """Admin lists the same."""
    build_snapshot(app, "a", rows=1_000, documents=500, total_documents=2_000)
    build_snapshot(app, "b", seconds_ago=40, rows=123_456)
    page = client.get(url("runningsnapshot_changelist")).content.decode()
    assert "about 60 s" in page
    assert "123456" not in page


def test_who_may_see_it(client, app: App) -> None:
    """Nobody but staff who may see the app."""
    assert client.get(ADDRESS).status_code == 401
    client.force_login(User.objects.create_user("bob", is_staff=True))
    assert client.get(ADDRESS).status_code == 403
    assert client.get("/api/apps/nope/snapshots").status_code == 403
