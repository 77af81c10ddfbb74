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


def test_table(find: Find) -> None:
    """A line for each app, in columns."""
    find(LED)
    assert status() == (
        "app   leader      lease left  standbys  log until  age\n"
        "shop  host:1:one  4.1 s       1         abc        3 s\n"
    )


def test_nobody_leads(find: Find) -> None:
    """The error names the apps, and what to do."""
    find(LED, ALONE)
    with pytest.raises(CommandError, match=r"No process watches wiki\. Run manage\.py watch_changes\."):
        status()


def test_not_published(find: Find) -> None:
    """An app that was asked for and is not there is no success."""
    find(LED)
    with pytest.raises(CommandError, match=r"Not published: atlas\."):
        status("shop", "atlas")


def test_nothing_published(find: Find) -> None:
    """Nothing to watch is no error."""
    find()
    assert status() == "No app is published.\n"


def test_redis_is_away(find: Find) -> None:
    """Nobody knows who leads."""
    find(error=LogUnavailable())
    with pytest.raises(CommandError, match=r"CS302.*Check REDIS_URL"):
        status()


def test_options_that_need_others(settings: Any) -> None:
    """`--json` is of `--status`, and both are of Redis."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(CommandError, match="needs --status"):
        call_command("watch_changes", "--json")
    settings.REDIS_URL = ""
    with pytest.raises(CommandError, match="REDIS_URL is not set"):
        status()
