"""`create_client`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from changesource.models import Client
from changesource.models.credential import digest_of, lookup_of
from tests.models.builders import build_app

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> list[str]:
    """The lines that the command writes to stdout."""
    output = StringIO()
    call_command("create_client", *arguments, stdout=output)
    return output.getvalue().splitlines()


def test_token_on_the_last_line() -> None:
    """The last line is the token of the new client."""
    build_app()
    token = run("cache", "--app", "shop")[-1]
    assert Client.objects.get().credentials.get().lookup == lookup_of(digest_of(token))


def test_several_apps() -> None:
    """`--app` may be repeated; the same app twice is once."""
    build_app()
    build_app("other")
    run("cache", "--app", "shop", "--app", "other", "--app", "shop")
    assert [app.app_id for app in Client.objects.get().apps.all()] == ["other", "shop"]


@pytest.mark.parametrize("app_id", ["nope", "\ud800"])
def test_unknown_app(app_id: str) -> None:
    """An app that does not exist is refused, and no client is made."""
    build_app()
    with pytest.raises(CommandError, match="There is no app"):
        run("cache", "--app", "shop", "--app", app_id)
    assert not Client.objects.exists()


def test_taken_name() -> None:
    """A name that is taken is refused."""
    build_app()
    run("cache", "--app", "shop")
    with pytest.raises(CommandError, match="already exists"):
        run("cache", "--app", "shop")


@pytest.mark.parametrize("name", ["\ud800", "a\nb", "a\u202eb", "a\u200bb", "\ufeffa", "a\u2028b", "\ue000"])
def test_bad_name(name: str) -> None:
    """A name that could not be stored, or not be told from another, is refused."""
    build_app()
    with pytest.raises(CommandError, match="printable"):
        run(name, "--app", "shop")


@pytest.mark.parametrize("name", [" cache", "cache ", " "])
def test_name_with_spaces_around_it(name: str) -> None:
    """So is one that looks like another beside it."""
    build_app()
    with pytest.raises(CommandError, match="space"):
        run(name, "--app", "shop")
