"""`issue_credential` and `revoke_credential`."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from changesource.models import Client, Credential
from changesource.models.credential import digest_of, lookup_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return Client.objects.create_for_apps("cache", [])


def run(*arguments: str) -> list[str]:
    """The lines that the command writes to stdout."""
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue().splitlines()


def revoked_of(client: Client) -> set[int]:
    return set(client.credentials.exclude(revoked_at=None).values_list("pk", flat=True))


class TestIssue:
    def test_the_last_line_is_the_token_of_the_new_credential(self, client: Client) -> None:
        """The line before it names the credential. Earlier credentials stay."""
        old, _ = Credential.objects.issue(client)
        *_, about, token = run("issue_credential", "cache", "--label", "Frankfurt")
        credential = client.credentials.exclude(pk=old.pk).get()
        assert credential.lookup == lookup_of(digest_of(token))
        assert (credential.label, credential.expires_at) == ("Frankfurt", None)
        assert f"Credential {credential.pk} of cache" in about
        assert not revoked_of(client)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("2999-01-31", datetime(2999, 1, 31, tzinfo=UTC)),
            ("2999-01-31T12:00+01:00", datetime(2999, 1, 31, 11, tzinfo=UTC)),
            ("2999-01-31 12:00", datetime(2999, 1, 31, 12, tzinfo=UTC)),
        ],
    )
    def test_a_credential_expires_on_a_day_or_at_a_moment(self, client: Client, text: str, expected: datetime) -> None:
        run("issue_credential", "cache", "--expires", text)
        assert client.credentials.get().expires_at == expected

    @pytest.mark.parametrize("text", ["", "tomorrow", "2999-02-30", "2020-01-01", "0001-01-01T00:00+23:59", "30"])
    def test_an_expiry_that_is_not_in_the_future_is_refused(self, client: Client, text: str) -> None:
        """No credential is issued."""
        with pytest.raises(CommandError, match="--expires"):
            run("issue_credential", "cache", "--expires", text)
        assert not client.credentials.exists()

    @pytest.mark.parametrize("name", ["nope", "", "\ud800", "a\0b"])
    def test_an_unknown_client_is_refused(self, client: Client, name: str) -> None:
        with pytest.raises(CommandError, match="There is no client"):
            run("issue_credential", name)

    def test_a_label_that_cannot_be_stored_is_refused(self, client: Client) -> None:
        for label in ("\ud800", "a\nb", "a\u202eb", "a\x1b[31m"):
            with pytest.raises(CommandError, match="printable"):
                run("issue_credential", "cache", "--label", label)
        with pytest.raises(CommandError, match="space"):
            run("issue_credential", "cache", "--label", "2027 ")


class TestRevoke:
    def test_only_the_named_credential_is_revoked(self, client: Client) -> None:
        old, _ = Credential.objects.issue(client, "old")
        Credential.objects.issue(client)
        lines = run("revoke_credential", "cache", "--credential", str(old.pk))
        assert lines == [f"Revoked credential {old.pk} (old) of cache."]
        assert revoked_of(client) == {old.pk}

    def test_all_other_credentials_of_the_client_are_revoked(self, client: Client) -> None:
        """One that has already been revoked keeps its time."""
        first, second, kept = (Credential.objects.issue(client)[0] for _ in range(3))
        of_another, _ = Credential.objects.issue(Client.objects.create_for_apps("other", []))
        first.revoke()
        lines = run("revoke_credential", "cache", "--all-but", str(kept.pk))
        assert lines == [f"Revoked credential {second.pk} of cache."]
        assert revoked_of(client) == {first.pk, second.pk}
        assert client.credentials.get(pk=first.pk).revoked_at == first.revoked_at
        of_another.refresh_from_db()
        assert of_another.revoked_at is None

    def test_revoking_twice_is_not_an_error(self, client: Client) -> None:
        """The command says that nothing was done."""
        credential, _ = Credential.objects.issue(client)
        run("revoke_credential", "cache", "--credential", str(credential.pk))
        assert run("revoke_credential", "cache", "--credential", str(credential.pk)) == ["Nothing to revoke."]

    @pytest.mark.parametrize("option", ["--credential", "--all-but"])
    @pytest.mark.parametrize("pk", [0, -1, 10**30])
    def test_an_unknown_credential_is_refused(self, client: Client, option: str, pk: int) -> None:
        """The error lists those that the client has."""
        known, _ = Credential.objects.issue(client)
        with pytest.raises(CommandError, match=rf"has no credential {pk}. It has: {known.pk}"):
            run("revoke_credential", "cache", option, str(pk))
        assert not revoked_of(client)

    def test_the_credential_of_another_client_is_refused(self, client: Client) -> None:
        other, _ = Credential.objects.issue(Client.objects.create_for_apps("other", []))
        with pytest.raises(CommandError, match="has no credential"):
            run("revoke_credential", "cache", "--credential", str(other.pk))

    def test_a_credential_that_is_no_longer_valid_cannot_be_the_one_to_keep(self, client: Client) -> None:
        """Otherwise the client would be left without a valid one."""
        revoked, expired, valid = (Credential.objects.issue(client)[0] for _ in range(3))
        revoked.revoke()
        client.credentials.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(hours=1))
        for kept in (revoked, expired):
            with pytest.raises(CommandError, match="Name one that is valid"):
                run("revoke_credential", "cache", "--all-but", str(kept.pk))
        valid.refresh_from_db()
        assert valid.revoked_at is None

    @pytest.mark.parametrize("arguments", [[], ["--credential", "1", "--all-but", "1"], ["--credential", "x"]])
    def test_exactly_one_option_has_to_be_given(self, client: Client, arguments: list[str]) -> None:
        with pytest.raises(CommandError):
            run("revoke_credential", "cache", *arguments)
