"""`GET /readyz` and `GET /api/readiness`."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from changesource.api import probes

MISSING = {"app shop": "no process watches it", "app other": "CS302", "replicas shop": "Since 12:00 shard 3 has to …"}


@pytest.fixture(autouse=True)
def missing(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Sets what the process is missing."""
    found = dict(MISSING)

    async def missing_of(service: Any) -> dict[str, str]:
        return found

    async def running_service() -> None:
        return None

    monkeypatch.setattr(probes, "missing_of", missing_of)
    monkeypatch.setattr(probes, "running_service", running_service)
    return found


def test_anyone_learns_which_kinds_of_things_are_missing(client: Any) -> None:
    """A session is ignored: this test may not use the database."""
    client.cookies["sessionid"] = "x" * 32
    response = client.get("/readyz")
    assert response.status_code == 503
    assert list(response.json()["reasons"]) == ["app", "replicas"]
    assert "shop" not in response.content.decode()


def test_nothing_is_missing(client: Any, missing: dict[str, str]) -> None:
    """The answer is 200."""
    missing.clear()
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.django_db
def test_staff_learn_names_and_reasons(client: Any) -> None:
    """If they may view all apps."""
    assert client.get("/api/readiness").status_code == 401
    user = User.objects.create_user("ada")
    user.user_permissions.add(Permission.objects.get(codename="view_app"))
    client.force_login(user)
    assert client.get("/api/readiness").status_code == 403
    User.objects.update(is_staff=True)
    response = client.get("/api/readiness")
    assert (response.status_code, response.json()["reasons"]) == (503, MISSING)
    client.force_login(User.objects.create_user("bob", is_staff=True))
    assert client.get("/api/readiness").status_code == 403
