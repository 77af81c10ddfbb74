"""`manage.py watch_changes --status`: what it shows, and when it fails."""

from __future__ import annotations

from collections.abc import Callable, Collection
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from changesource.errors import LogUnavailable
from changesource.management.commands import watch_changes
from changesource.operations.leadership import WatchedApp

LED = WatchedApp("shop", "host:1:one", 4.12, 1, "abc", 3.0)
ALONE = WatchedApp("wiki", None, 0.0, 0, None, None)

Find = Callable[..., None]


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Find:
    """What is found of the apps."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    def set_found(*apps: WatchedApp, error: Exception | None = None) -> None:
        async def watched_apps(redis_url: str, app_ids: Collection[str]) -> list[WatchedApp]:
            if error is not None:
                raise error
            return list(apps)

        monkeypatch.setattr(watch_changes, "watched_apps", watched_apps)

    return set_found


def status(*arguments: str) -> str:
    output = StringIO()
    call_command("watch_changes", "--status", *arguments, stdout=output)
    return output.getvalue()


def test_the_status_is_a_line_for_each_app(find: Find) -> None:
    """In columns."""
    find(LED)
    assert status() == (
        "app   leader      lease left  standbys  log until  age\n"
        "shop  host:1:one  4.1 s       1         abc        3 s\n"
    )


def test_apps_without_a_leader_are_an_error_that_names_them(find: Find) -> None:
    """And says what to do."""
    find(LED, ALONE)
    with pytest.raises(CommandError, match=r"No process watches wiki\. Run manage\.py watch_changes\."):
        status()


def test_an_app_that_is_asked_for_and_not_published_is_an_error(find: Find) -> None:
    find(LED)
    with pytest.raises(CommandError, match=r"Not published: atlas\."):
        status("shop", "atlas")


def test_no_published_app_at_all_is_not_an_error(find: Find) -> None:
    find()
    assert status() == "No app is published.\n"


def test_a_redis_that_is_away_is_an_error(find: Find) -> None:
    """No process can say who leads."""
    find(error=LogUnavailable())
    with pytest.raises(CommandError, match=r"CS302.*Check REDIS_URL"):
        status()


def test_an_option_without_the_one_that_it_needs_is_refused(settings: Any) -> None:
    """`--json` needs `--status`, and both need Redis."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(CommandError, match="needs --status"):
        call_command("watch_changes", "--json")
    settings.REDIS_URL = ""
    with pytest.raises(CommandError, match="REDIS_URL is not set"):
        status()
