"""`GET /healthz`."""

import pytest


@pytest.fixture(autouse=True)
def static_root(settings, tmp_path) -> None:
    settings.STATIC_ROOT = str(tmp_path)  # WhiteNoise warns of a folder that is missing before collectstatic


def test_healthy(client) -> None:
    """A process that answers is healthy, without a login and without a database."""
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_session_is_not_looked_at(client) -> None:
    """A browser's cookie does not make the answer depend on the database, which this test may not use."""
    client.cookies["sessionid"] = "x" * 32
    assert client.get("/healthz").status_code == 200


def test_only_get(client) -> None:
    """Nothing can be sent there."""
    assert client.post("/healthz").status_code == 405
