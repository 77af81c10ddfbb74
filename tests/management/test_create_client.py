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


def test_the_last_line_is_the_token_of_the_new_client() -> None:
    build_app()
    token = run("cache", "--app", "shop")[-1]
    assert Client.objects.get().credentials.get().lookup == lookup_of(digest_of(token))


def test_a_client_can_be_created_for_several_apps() -> None:
    """`--app` may be repeated; the same app twice counts once."""
    build_app()
    build_app("other")
    run("cache", "--app", "shop", "--app", "other", "--app", "shop")
    assert [app.app_id for app in Client.objects.get().apps.all()] == ["other", "shop"]


@pytest.mark.parametrize("app_id", ["nope", "\ud800"])
def test_an_unknown_app_is_refused(app_id: str) -> None:
    """No client is created."""
    build_app()
    with pytest.raises(CommandError, match="There is no app"):
        run("cache", "--app", "shop", "--app", app_id)
    assert not Client.objects.exists()


def test_a_name_that_is_taken_is_refused() -> None:
    build_app()
    run("cache", "--app", "shop")
    with pytest.raises(CommandError, match="already exists"):
        run("cache", "--app", "shop")


@pytest.mark.parametrize("name", ["\ud800", "a\nb", "a\u202eb", "a\u200bb", "\ufeffa", "a\u2028b", "\ue000"])
def test_a_name_that_cannot_be_stored_or_looks_like_another_is_refused(name: str) -> None:
    build_app()
    with pytest.raises(CommandError, match="printable"):
        run(name, "--app", "shop")


@pytest.mark.parametrize("name", [" cache", "cache ", " "])
def test_a_name_with_spaces_around_it_is_refused(name: str) -> None:
    build_app()
    with pytest.raises(CommandError, match="space"):
        run(name, "--app", "shop")
