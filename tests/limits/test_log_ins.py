"""Log-ins are counted before the password is checked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.hashers import MD5PasswordHasher
from django.contrib.auth.models import User
from django.test import Client

from changesource.limits import log_ins
from changesource.limits.buckets import MAX_BUCKETS
from changesource.limits.log_ins import TooManyLogIns, normalised_name

PAGE = "/admin/login/"


@pytest.fixture(autouse=True)
def limits(settings: Any) -> Iterator[None]:
    """Four log-ins for an address, three for a user name."""
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "logins_per_address": 4, "logins_per_user": 3}
    log_ins._buckets.cache_clear()
    yield
    log_ins._buckets.cache_clear()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that are hashed."""
    hashed: list[str] = []
    encode = MD5PasswordHasher.encode

    def noted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", noted)
    return hashed


def log_in(username: str, password: str = "x", address: str = "192.0.2.1") -> Any:  # noqa: S107
    return Client().post(PAGE, {"username": username, "password": password}, REMOTE_ADDR=address)


@pytest.mark.django_db
def test_an_address_that_tries_too_often_waits(hashes: list[str]) -> None:
    """Whatever user names it tries, known or not. No hash is computed for it, and it is told how
    long to wait."""
    User.objects.create_superuser("ada", password="right")
    hashes.clear()
    assert [log_in(name).status_code for name in ("a", "b", "c", "ada")] == [200] * 4
    assert len(hashes) == 4
    answer = log_in("d")
    assert answer.status_code == 429
    assert answer["Retry-After"] == "15"
    assert answer.content == b"Too many log-ins. Wait 15 seconds, and try again."
    assert len(hashes) == 4


@pytest.mark.django_db
def test_a_log_in_that_succeeds_counts() -> None:
    """Whoever has one account must not try others without limit."""
    User.objects.create_superuser("ada", password="right")
    answers = [log_in("mallory", "x"), log_in("ada", "right"), log_in("bob"), log_in("ada", "right"), log_in("eve")]
    assert [answer.status_code for answer in answers] == [200, 302, 200, 302, 429]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_a_user_name_that_is_tried_too_often_waits(name: str, hashes: list[str]) -> None:
    """From whatever addresses, and with the right password as well. Unknown names behave the
    same."""
    User.objects.create_superuser("ada", password="right")
    hashes.clear()
    names = [name, name.upper(), f" {name}", name]
    answers = [log_in(tried, "right!", f"192.0.2.{i}") for i, tried in enumerate(names)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert len(hashes) == 3
    assert log_in("grace", address="192.0.2.99").status_code == 200


@pytest.mark.django_db
def test_an_address_that_waits_uses_up_nothing_of_a_user_name() -> None:
    """An address without tokens cannot lock a user out."""
    User.objects.create_superuser("ada", password="right")
    for i in range(4):
        log_in(f"x{i}")
    assert [log_in("ada").status_code for _ in range(5)] == [429] * 5
    assert log_in("ada", "right", "192.0.2.2").status_code == 302


@pytest.mark.django_db
def test_without_a_request_only_the_user_name_counts() -> None:
    """As for other callers of Django's `authenticate`."""
    for _ in range(3):
        assert authenticate(username="ada", password="x") is None
    with pytest.raises(TooManyLogIns):
        authenticate(username="ada", password="x")


@pytest.mark.parametrize(
    ("name", "same"),
    [("Ada", "ada"), ("ａｄａ", "ada"), (" ada ", "ada"), ("STRASSE", "straße"), ("a" * 150 + "b", "a" * 150)],
)
def test_spellings_of_one_user_name_count_together(name: str, same: str) -> None:
    """Those that a database, or a reader, might treat as equal."""
    assert normalised_name(name) == normalised_name(same)


def test_memory_is_bounded(settings: Any) -> None:
    """However many names there are, and however long."""
    settings.CHANGESOURCE = {**settings.CHANGESOURCE, "logins_per_address": 0, "logins_per_user": 3}
    log_ins._buckets.cache_clear()
    backend = log_ins.LogInLimits()
    for i in range(MAX_BUCKETS + 1_000):
        backend.authenticate(None, username=f"{i}" + "x" * 1_000)
    _, by_user = log_ins._buckets()
    assert len(by_user) == MAX_BUCKETS
    assert all(len(str(name)) <= 150 for name in by_user._buckets)


@pytest.mark.django_db
def test_a_password_typed_as_a_user_name_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Only the address is."""
    for _ in range(5):
        log_in("hunter2")
    assert "192.0.2.1: 429, too many log-ins with one user name" in caplog.text
    assert "hunter2" not in caplog.text
