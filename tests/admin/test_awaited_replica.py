"""Replicas that are waited for, and those that are not any more."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.test import Client as Browser
from django.utils import timezone

from changesource.models import App, AwaitedReplica, Client
from changesource.models.awaited_replica import AWAITED_FOR
from tests.admin.pages import messages_of, url


@pytest.fixture
def awaited(app: App) -> AwaitedReplica:
    return AwaitedReplica.objects.create(
        app=app,
        client=Client.objects.create_for_apps("cache", [app]),
        shard_num=0,
        watermark="5abc",
        reason="The history is lost.",
        is_fault=True,
        told_at=timezone.now(),
    )


def stop_waiting(browser: Browser, *replicas: AwaitedReplica) -> Any:
    chosen = {"action": "stop_waiting", "_selected_action": [replica.pk for replica in replicas]}
    return browser.post(url("awaitedreplica_changelist"), chosen, follow=True)


def test_waiting_can_be_stopped(browser: Browser, awaited: AwaitedReplica) -> None:
    """The alarm ends; what the next snapshot has to be newer than is kept, and who did it is noted."""
    response = stop_waiting(browser, awaited)
    assert messages_of(response) == ["Stopped waiting for 1 replica."]
    assert not AwaitedReplica.objects.alarming().exists()
    awaited.refresh_from_db()
    assert (awaited.watermark, awaited.is_alarming) == ("5abc", False)
    assert LogEntry.objects.get().change_message == "No longer waited for."
    assert messages_of(stop_waiting(browser, awaited)) == ["Stopped waiting for 0 replicas."]


@pytest.mark.parametrize("group", ["Zero viewers", "Zero editors", "Zero publishers"])
def test_a_user_who_may_only_view_cannot_stop_waiting(awaited: AwaitedReplica, group: str) -> None:
    """They are not asked whether to wait, and it does nothing if they say so."""
    user = User.objects.create_user("grace", is_staff=True)
    user.groups.set(Group.objects.filter(name=group))
    browser = Browser()
    browser.force_login(user)
    page = browser.get(url("awaitedreplica_changelist")).content.decode()
    assert "The history is lost." in page
    assert "stop_waiting" not in page
    stop_waiting(browser, awaited)
    assert AwaitedReplica.objects.alarming().exists()


def test_alarms_are_shown(awaited: AwaitedReplica) -> None:
    """One that was told long ago, or for a reason that somebody asked for, is no alarm; here as in the list of alarms."""
    changes: list[tuple[dict[str, Any], bool]] = [
        ({}, True),
        ({"told_at": timezone.now() - AWAITED_FOR - timedelta(seconds=1)}, False),
        ({"told_at": timezone.now(), "is_fault": False}, False),
    ]
    for change, is_alarming in changes:
        AwaitedReplica.objects.update(**change)
        awaited.refresh_from_db()
        assert (awaited.is_alarming, AwaitedReplica.objects.alarming().exists()) == (is_alarming, is_alarming)


@pytest.mark.parametrize("model", ["client", "app"])
def test_they_are_deleted_with_their_app_or_client(browser: Browser, awaited: AwaitedReplica, model: str) -> None:
    """Goes with them, though nobody may delete them alone."""
    response = browser.post(url(f"{model}_delete", getattr(awaited, model).pk), {"post": "yes"})
    assert response.status_code == 302
    assert not AwaitedReplica.objects.exists()
