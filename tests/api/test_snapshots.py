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
def surroundings(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def app() -> App:
    return build_app()


@pytest.fixture
def user(client) -> User:
    """A logged-in member of the staff who may view apps."""
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_app", "view_runningsnapshot"]))
    client.force_login(user)
    return user


def build_snapshot(app: App, token: str, seconds_ago: float = 0, **values: Any) -> RunningSnapshot:
    """A snapshot that began 20 seconds before its last sign of life, which was some seconds ago."""
    noted_at = timezone.now() - timedelta(seconds=seconds_ago)
    client, _ = Client.objects.get_or_create(name="cache")
    began_at = noted_at - timedelta(seconds=20)
    defaults: dict[str, Any] = {"asked_at": began_at, "began_at": began_at, "noted_at": noted_at}
    return RunningSnapshot.objects.create(app=app, client=client, token=token, shard_num=3, **{**defaults, **values})


def test_the_progress_of_each_snapshot_is_shown(client, app: App, user: User) -> None:
    """Rows, rate and time left while it is read; that it is being closed; that it waits."""
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


def test_snapshots_of_other_apps_and_dead_processes_are_left_out(client, app: App, user: User) -> None:
    """Only those of this app that are alive are shown."""
    build_snapshot(build_app("other"), "a")
    build_snapshot(app, "b", seconds_ago=40)
    assert client.get(ADDRESS).json() == []


def test_admin_lists_the_same_snapshots(client, app: App, user: User) -> None:
    """With the same progress."""
    build_snapshot(app, "a", rows=1_000, documents=500, total_documents=2_000)
    build_snapshot(app, "b", seconds_ago=40, rows=123_456)
    page = client.get(url("runningsnapshot_changelist")).content.decode()
    assert "about 60 s" in page
    assert "123456" not in page


def test_only_staff_who_may_view_the_app_see_its_snapshots(client, app: App) -> None:
    """Others get 401 or 403."""
    assert client.get(ADDRESS).status_code == 401
    client.force_login(User.objects.create_user("bob", is_staff=True))
    assert client.get(ADDRESS).status_code == 403
    assert client.get("/api/apps/nope/snapshots").status_code == 403
