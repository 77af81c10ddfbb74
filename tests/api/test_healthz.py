"""`GET /healthz`."""


def test_a_process_that_answers_is_healthy(client) -> None:
    """Without a login and without a database."""
    response = client.get("/healthz")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_session_is_ignored(client) -> None:
    """The answer must not depend on the database, which this test may not use."""
    client.cookies["sessionid"] = "x" * 32
    assert client.get("/healthz").status_code == 200


def test_only_get_is_allowed(client) -> None:
    """There is nothing to send."""
    assert client.post("/healthz").status_code == 405
