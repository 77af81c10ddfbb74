"""changesource/authentication/tokens.py and credentials.py: random tokens."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from changesource.authentication.tokens import authenticate
from changesource.errors import TokenRefused
from changesource.models import Client, Credential, queries
from changesource.models.credential import digest_of, lookup_of
from changesource.models.database_threads import AUTHENTICATION
from changesource.models.queries.clients import Identity
from changesource.models.queries.credentials import StoredCredential
from changesource.protocol.requests import MAX_TOKEN_LENGTH

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client() -> Client:
    return Client.objects.create_for_apps("cache", [])


@pytest.fixture
def token(client: Client) -> str:
    return Credential.objects.issue(client)[1]


async def refusal(token: str) -> TokenRefused:
    with pytest.raises(TokenRefused) as refused:
        await authenticate(token)
    assert not token or token not in str(refused.value)
    return refused.value


async def queries_of(token: str) -> int:
    """How many queries `authenticate` runs."""

    def begin() -> CaptureQueriesContext:
        return CaptureQueriesContext(connection).__enter__()

    captured = await AUTHENTICATION.ask(begin)
    with contextlib.suppress(TokenRefused):
        await authenticate(token)
    return await AUTHENTICATION.ask(lambda: len(captured))


async def test_a_token_names_the_client_and_its_credential(client: Client, token: str) -> None:
    """Nothing else is needed."""
    credential = await client.credentials.aget()
    assert await authenticate(token) == Identity(client.pk, "cache", credential.pk)


@pytest.mark.parametrize("wrong", ["", "x", "\0", "\ud800", "'; --", "x" * MAX_TOKEN_LENGTH])
async def test_any_other_text_is_an_unknown_token(token: str, wrong: str) -> None:
    """No other error is raised, whatever the text is."""
    assert (await refusal(wrong)).reason == "unknown token"


async def test_a_huge_token_costs_no_query(token: str) -> None:
    """A token of absurd length is refused unseen."""
    assert "longer" in (await refusal("x" * (MAX_TOKEN_LENGTH + 1))).reason
    assert await queries_of("x" * (MAX_TOKEN_LENGTH + 1)) == 0


async def test_what_is_stored_is_no_token(client: Client, token: str) -> None:
    """A reader of the database cannot connect with what is stored there, nor with the digest that it is computed from."""
    credential = await client.credentials.aget()
    for stored in (credential.lookup, digest_of(token)):
        assert (await refusal(stored)).reason == "unknown token"


async def test_every_refused_token_costs_one_query(token: str) -> None:
    """Unknown, revoked, or of a client that is switched off: the costs do not tell which."""
    assert await queries_of("nobody's") == 1
    await Client.objects.aupdate(is_active=False)
    assert await queries_of(token) == 1
    await Credential.objects.aupdate(revoked_at=timezone.now())
    assert await queries_of(token) == 1


async def test_a_token_costs_one_query_when_it_comes_back(token: str) -> None:
    """zero-cache may reconnect every 25 ms. The first time, its use is stored as well."""
    await authenticate(token)
    assert [await queries_of(token) for _ in range(3)] == [1, 1, 1]


async def test_two_credentials_are_valid_side_by_side(client: Client, token: str) -> None:
    """Revoking the old one leaves the new one."""
    new, new_token = await sync_to_async(Credential.objects.issue)(client)
    assert (await authenticate(token)).credential_id != (await authenticate(new_token)).credential_id
    old = await client.credentials.exclude(pk=new.pk).aget()
    await sync_to_async(old.revoke)()
    refused = await refusal(token)
    assert (refused.reason, refused.client) == (f"client cache: credential {old.pk} is revoked", "cache")
    assert (await authenticate(new_token)).credential_id == new.pk


async def test_a_credential_is_valid_until_it_expires(client: Client) -> None:
    """The identity says when that is."""
    later = timezone.now() + timedelta(hours=1)
    _, token = await sync_to_async(Credential.objects.issue)(client, "", later)
    assert (await authenticate(token)).expires_at == later
    await client.credentials.aupdate(expires_at=timezone.now())
    assert "has expired" in (await refusal(token)).reason


async def test_a_right_token_of_a_client_that_is_off_or_expired_is_refused(token: str) -> None:
    """The reason for our log says which."""
    await Client.objects.aupdate(is_active=False)
    assert (await refusal(token)).reason == "client cache is not active"
    await Client.objects.aupdate(is_active=True, expires_at=timezone.now())
    assert (await refusal(token)).reason == "client cache has expired"


@pytest.mark.parametrize("other", [str.upper, lambda lookup: lookup[:-1], lambda lookup: "ä" + lookup[1:]])
async def test_a_row_with_another_lookup_opens_nothing(
    token: str, other: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database whose collation ignores case may find one."""
    find = queries.credentials.find_credential

    async def find_another(digest: str) -> StoredCredential | None:
        found = await find(digest)
        assert found is not None
        return replace(found, lookup=other(found.lookup))

    monkeypatch.setattr(queries.credentials, "find_credential", find_another)
    assert (await refusal(token)).reason == "unknown token"


async def test_a_replaced_lookup_counts_at_once(client: Client, token: str) -> None:
    """Nothing is remembered of a token that has opened something."""
    await authenticate(token)
    await client.credentials.aupdate(lookup=lookup_of(digest_of("another token")))
    assert (await refusal(token)).reason == "unknown token"


@pytest.mark.parametrize("stored", ["", "md5$salt$digest"])
async def test_the_hash_of_an_earlier_release_counts_no_more(client: Client, token: str, stored: str) -> None:
    """Rows of before have one, rows of now have none."""
    await client.credentials.aupdate(hash=stored)
    assert (await authenticate(token)).name == "cache"
    assert (await client.credentials.aget()).hash == stored


async def test_a_token_survives_a_change_of_the_secret_key(client: Client, token: str, settings: Any) -> None:
    """With the old key as a fallback the token opens streams, and its row takes the new key; then the old one can go."""
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another for tests only"
    assert (await authenticate(token)).name == "cache"
    assert (await client.credentials.aget()).lookup == lookup_of(digest_of(token))
    settings.SECRET_KEY_FALLBACKS = []
    assert (await authenticate(token)).name == "cache"


async def test_without_the_old_secret_key_no_token_is_found(token: str, settings: Any) -> None:
    """SECRET_KEY was changed, and the old key is not among the fallbacks."""
    settings.SECRET_KEY = "another for tests only"
    assert (await refusal(token)).reason == "unknown token"


async def test_the_last_use_is_kept_to_the_minute(client: Client, token: str) -> None:
    """Of the client and of its credential."""
    await authenticate(token)
    credential = await client.credentials.aget()
    first = credential.last_used_at
    assert first is not None
    await authenticate(token)
    await credential.arefresh_from_db()
    assert credential.last_used_at == first
    await client.credentials.aupdate(last_used_at=first - timedelta(seconds=61))
    await authenticate(token)
    await credential.arefresh_from_db()
    await client.arefresh_from_db()
    assert credential.last_used_at == client.last_seen_at >= first


async def test_many_connections_at_once_all_get_an_answer(client: Client, token: str) -> None:
    """As after a restart of the server."""
    found = await asyncio.gather(*(authenticate(token) for _ in range(50)))
    assert {identity.client_id for identity in found} == {client.pk}
