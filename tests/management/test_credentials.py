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
    def test_token_on_the_last_line(self, client: Client) -> None:
        """The last line is the token of the new credential, the line before names it; those of before stay."""
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
    def test_expires(self, client: Client, text: str, expected: datetime) -> None:
        """A day or a moment."""
        run("issue_credential", "cache", "--expires", text)
        assert client.credentials.get().expires_at == expected

    @pytest.mark.parametrize("text", ["", "tomorrow", "2999-02-30", "2020-01-01", "0001-01-01T00:00+23:59", "30"])
    def test_bad_expires(self, client: Client, text: str) -> None:
        """What is no moment to come is refused, and no credential is made."""
        with pytest.raises(CommandError, match="--expires"):
            run("issue_credential", "cache", "--expires", text)
        assert not client.credentials.exists()

    @pytest.mark.parametrize("name", ["nope", "", "\ud800", "a\0b"])
    def test_unknown_client(self, client: Client, name: str) -> None:
        """A client that does not exist is refused."""
        with pytest.raises(CommandError, match="There is no client"):
            run("issue_credential", name)

    def test_bad_label(self, client: Client) -> None:
        """A label that could not be stored is refused."""
        for label in ("\ud800", "a\nb", "a\u202eb", "a\x1b[31m"):
            with pytest.raises(CommandError, match="printable"):
                run("issue_credential", "cache", "--label", label)
        with pytest.raises(CommandError, match="space"):
            run("issue_credential", "cache", "--label", "2027 ")


class TestRevoke:
    def test_one(self, client: Client) -> None:
        """The one that is named, and nothing else."""
        old, _ = Credential.objects.issue(client, "old")
        Credential.objects.issue(client)
        lines = run("revoke_credential", "cache", "--credential", str(old.pk))
        assert lines == [f"Revoked credential {old.pk} (old) of cache."]
        assert revoked_of(client) == {old.pk}

    def test_all_but_one(self, client: Client) -> None:
        """All others of this client; one that is revoked already keeps its time."""
        first, second, kept = (Credential.objects.issue(client)[0] for _ in range(3))
        of_another, _ = Credential.objects.issue(Client.objects.create_for_apps("other", []))
        first.revoke()
        lines = run("revoke_credential", "cache", "--all-but", str(kept.pk))
        assert lines == [f"Revoked credential {second.pk} of cache."]
        assert revoked_of(client) == {first.pk, second.pk}
        assert client.credentials.get(pk=first.pk).revoked_at == first.revoked_at
        of_another.refresh_from_db()
        assert of_another.revoked_at is None

    def test_again(self, client: Client) -> None:
        """Revoking twice is no error, and says that nothing was done."""
        credential, _ = Credential.objects.issue(client)
        run("revoke_credential", "cache", "--credential", str(credential.pk))
        assert run("revoke_credential", "cache", "--credential", str(credential.pk)) == ["Nothing to revoke."]

    @pytest.mark.parametrize("option", ["--credential", "--all-but"])
    @pytest.mark.parametrize("pk", [0, -1, 10**30])
    def test_unknown_credential(self, client: Client, option: str, pk: int) -> None:
        """A number that no credential of the client has is refused, with those that there are."""
        known, _ = Credential.objects.issue(client)
        with pytest.raises(CommandError, match=rf"has no credential {pk}. It has: {known.pk}"):
            run("revoke_credential", "cache", option, str(pk))
        assert not revoked_of(client)

    def test_credential_of_another(self, client: Client) -> None:
        """The client has to be the credential's."""
        other, _ = Credential.objects.issue(Client.objects.create_for_apps("other", []))
        with pytest.raises(CommandError, match="has no credential"):
            run("revoke_credential", "cache", "--credential", str(other.pk))

    def test_keeping_what_opens_nothing(self, client: Client) -> None:
        """Nobody is left with a credential alone that is revoked or has expired."""
        revoked, expired, valid = (Credential.objects.issue(client)[0] for _ in range(3))
        revoked.revoke()
        client.credentials.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(hours=1))
        for kept in (revoked, expired):
            with pytest.raises(CommandError, match="Name one that is valid"):
                run("revoke_credential", "cache", "--all-but", str(kept.pk))
        valid.refresh_from_db()
        assert valid.revoked_at is None

    @pytest.mark.parametrize("arguments", [[], ["--credential", "1", "--all-but", "1"], ["--credential", "x"]])
    def test_which(self, client: Client, arguments: list[str]) -> None:
        """One of both has to be said."""
        with pytest.raises(CommandError):
            run("revoke_credential", "cache", *arguments)
