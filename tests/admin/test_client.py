"""The pages of clients: a token is shown once."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from changesource.models import App, Client
from changesource.models.client import digest_of
from tests.admin.pages import messages_of, url

TOKEN = re.compile(r"[\w-]{43}$")


def token_in(messages: list[str]) -> str:
    """The token that the only message shows."""
    [message] = [message for message in messages if "token" in message]
    found = TOKEN.search(message)
    assert found
    return found.group()


@pytest.fixture
def client(app: App) -> Client:
    return Client.objects.create_with_token("cache", [app])[0]


def create(browser: Any, app: App) -> Any:
    return browser.post(url("client_add"), {"name": "cache", "apps": [app.pk], "is_active": "on"}, follow=True)


def test_token_of_a_new_client(browser, app: App) -> None:
    """Creating a client shows its token."""
    token = token_in(messages_of(create(browser, app)))
    client = Client.objects.get()
    assert client.token_digest == digest_of(token)
    assert list(client.apps.all()) == [app]


def test_token_is_shown_once(browser, app: App) -> None:
    """No page shows it again, nor its digest, and the log does not have it."""
    token = token_in(messages_of(create(browser, app)))
    client = Client.objects.get()
    pages = [url("client_changelist"), url("client_change", client.pk), url("client_history", client.pk)]
    for text in [browser.get(page).content.decode() for page in pages] + [str(LogEntry.objects.values())]:
        assert token not in text
        assert client.token_digest not in text


def test_saving_keeps_the_token(browser, client: Client) -> None:
    """Editing a client shows no token and leaves the one that it has."""
    data = {"name": "renamed", "apps": [client.apps.get().pk]}
    response = browser.post(url("client_change", client.pk), data, follow=True)
    digest = client.token_digest
    client.refresh_from_db()
    assert (client.name, client.is_active, client.token_digest) == ("renamed", False, digest)
    assert not any("token" in message for message in messages_of(response))


def test_new_token(browser, client: Client) -> None:
    """The action replaces the token and shows the new one."""
    data = {"action": "issue_token", "_selected_action": client.pk}
    token = token_in(messages_of(browser.post(url("client_changelist"), data, follow=True)))
    digest = client.token_digest
    client.refresh_from_db()
    assert client.token_digest == digest_of(token) != digest


def test_digest_cannot_be_set(browser, client: Client) -> None:
    """A digest that a form sends is ignored."""
    data = {"name": "cache", "apps": [client.apps.get().pk], "token_digest": digest_of("mine")}
    browser.post(url("client_change", client.pk), data)
    client.refresh_from_db()
    assert client.token_digest != digest_of("mine")


@pytest.mark.parametrize("name", ["", "cache", "a\tb"])
def test_bad_name(browser, client: Client, name: str) -> None:
    """A name that is empty, taken or not printable is refused at its input."""
    response = browser.post(url("client_add"), {"name": name, "apps": [client.apps.get().pk]})
    assert list(response.context["adminform"].form.errors) == ["name"]
