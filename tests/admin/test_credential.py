"""Issuing and revoking credentials: a token is shown once, and kept nowhere."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.core import serializers
from django.test import Client as Browser
from django.utils import timezone

from changesource.models import App, Client, Credential
from changesource.models.credential import digest_of, lookup_of
from changesource.models.queries.client_changes import HISTORIES
from tests.admin.pages import ClientPage, client_data, messages_of, url

TOKEN = re.compile(r'id="token">([\w-]{43})<')


@pytest.fixture
def client(app: App) -> Client:
    return Client.objects.create_for_apps("cache", [app])


def issue(browser: Browser, client: Client, **data: Any) -> Any:
    """The answer to a page that was opened and sent."""
    address = url("client_issue", client.pk)
    after = browser.get(address).context["form"]["after"].value()
    return browser.post(address, {"after": "" if after is None else after, **data})


def token_of(response: Any) -> str:
    found = TOKEN.search(response.content.decode())
    assert found
    return found[1]


def test_a_new_token_is_shown(browser, client: Client) -> None:
    """The answer shows the token of the new credential, and nobody is to keep the answer."""
    response = issue(browser, client, label="east", expires_at_0="2030-01-02", expires_at_1="03:04:05")
    credential = client.credentials.get()
    assert credential.lookup == lookup_of(digest_of(token_of(response)))
    assert (credential.label, credential.expires_at.year) == ("east", 2030)
    assert "no-store" in response.headers["Cache-Control"]


def test_a_new_token_is_stored_nowhere(browser, client: Client) -> None:
    """Not in a message, a cookie, a session, the log or the history; nor is what is made of it, but in the credential."""
    response = issue(browser, client)
    token = token_of(response)
    assert not messages_of(response)
    credential = client.credentials.get()
    secrets = [token, digest_of(token), credential.lookup]
    rows = [model.objects.all() for model in (LogEntry, Client, *HISTORIES)]
    kept = [serializers.serialize("json", row) for row in rows]
    kept += [str(session.get_decoded()) for session in Session.objects.all()]
    kept += [str(response.headers), str(response.cookies), str(browser.cookies)]
    kept += [browser.get(url(f"client_{page}", client.pk)).content.decode() for page in ("change", "history", "issue")]
    assert not [secret for secret in secrets for text in kept if secret in text]


def test_a_form_that_is_sent_twice_issues_one_token(browser, client: Client) -> None:
    """Loading the answer again issues nothing, and shows no token."""
    address = url("client_issue", client.pk)
    token_of(browser.post(address, {"after": ""}))
    response = browser.post(address, {"after": ""}, follow=True)
    assert not TOKEN.search(response.content.decode())
    assert "Nothing was issued" in messages_of(response)[0]
    assert client.credentials.count() == 1
    token_of(issue(browser, client))
    assert client.credentials.count() == 2


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"label": "a\tb"}, "label"),
        ({"label": "x" * 101}, "label"),
        ({"expires_at_0": "2001-01-01", "expires_at_1": "00:00"}, "expires_at"),
        ({"expires_at_0": "soon", "expires_at_1": "00:00"}, "expires_at"),
        ({"after": "x"}, "after"),
    ],
)
def test_bad_input_is_refused(browser, client: Client, data: dict[str, str], name: str) -> None:
    """What cannot be stored or has passed is refused at its input, and nothing is issued."""
    response = issue(browser, client, **data)
    assert list(response.context["form"].errors) == [name]
    assert not client.credentials.exists()


def test_looking_issues_nothing(browser, client: Client) -> None:
    """Only a POST issues or revokes."""
    credential, _ = Credential.objects.issue(client)
    Credential.objects.issue(client)
    browser.get(url("client_issue", client.pk))
    browser.get(url("client_revoke", client.pk, credential.pk))
    browser.get(url("client_revoke_others", client.pk))
    assert client.credentials.filter(revoked_at=None).count() == 2


def test_a_credential_is_revoked(browser, client: Client) -> None:
    """One credential is revoked and the others are not; a second time changes nothing."""
    credential, _ = Credential.objects.issue(client, "west")
    other, _ = Credential.objects.issue(client)
    address = url("client_revoke", client.pk, credential.pk)
    response = browser.post(address, follow=True)
    assert messages_of(response)[0].startswith("Revoked credential west.")
    assert list(Credential.objects.valid()) == [other]
    revoked_at = Credential.objects.get(pk=credential.pk).revoked_at
    assert messages_of(browser.post(address, follow=True)) == ["cache: west has already been revoked."]
    assert Credential.objects.get(pk=credential.pk).revoked_at == revoked_at


def test_all_but_the_newest_are_revoked(browser, client: Client) -> None:
    """What was valid besides the newest valid one is revoked; the page says whether that has been used."""
    first, second, third, expired = (Credential.objects.issue(client, label)[0] for label in "abcd")
    Credential.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    address = url("client_revoke_others", client.pk)
    assert "never used" in browser.get(address).content.decode()
    [message] = messages_of(browser.post(address, follow=True))
    assert message.startswith("Revoked credential b, credential a.")
    assert list(Credential.objects.valid()) == [third]
    assert Credential.objects.filter(pk__in=[first.pk, second.pk], revoked_at=None).count() == 0
    assert messages_of(browser.post(address, follow=True)) == ["There was nothing to revoke."]
    assert messages_of(browser.get(address, follow=True)) == ["cache has no valid credential besides its newest."]


def test_another_clients_credential_is_not_found(browser, app: App, client: Client) -> None:
    """The address of a credential names its client."""
    other = Client.objects.create_for_apps("other", [app])
    credential, _ = Credential.objects.issue(other)
    assert browser.post(url("client_revoke", client.pk, credential.pk)).status_code == 404
    assert browser.post(url("client_revoke", client.pk, 2**70)).status_code == 404
    assert Credential.objects.valid().count() == 1


@pytest.mark.parametrize("page", ["issue", "revoke_others"])
def test_an_unknown_client_is_not_found(browser, db, page: str) -> None:
    """A client that is not there is not found, whatever the address says."""
    for pk in (99, "x", 2**70):
        assert browser.get(url(f"client_{page}", pk)).status_code == 404


def test_label_and_expiry_can_be_changed(browser, client: Client) -> None:
    """Both can be changed later."""
    credential, _ = Credential.objects.issue(client)
    credential.label = "west"
    data = client_data({"id": client.grants.get().pk}, credentials=[credential])
    data |= {"credentials-0-expires_at_0": "2030-01-01", "credentials-0-expires_at_1": "00:00"}
    assert ClientPage(browser, data, client).saved
    stored = client.credentials.get()
    assert (stored.label, stored.expires_at.year) == ("west", 2030)
