"""`export_schema`."""

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from changesource.models import App, Column, Version
from changesource.publishing.versions import begin_publish
from tests.models.builders import build_app, build_table

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def default_source(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def app() -> App:
    """With the table `city` in version 1, and `country` as well in version 2 and the draft."""
    app = build_app()
    begin_publish(app)
    build_table(app, "country", {"_id": {}})
    Version.objects.confirm(begin_publish(app).nonce, cluster_time=1)
    return app


def run(*arguments: object) -> str:
    """What the command writes to stdout."""
    output = StringIO()
    call_command("export_schema", *map(str, arguments), stdout=output)
    return output.getvalue()


def tables(*arguments: object) -> list[str]:
    return list(json.loads(run("shop", "--format", "zero-json", *arguments))["tables"])


def test_the_version_in_force_is_exported_by_default(app: App) -> None:
    """Not the draft, and not a version that is being published."""
    build_table(app, "street", {"_id": {}})
    begin_publish(app)
    assert tables() == ["city", "country"]


def test_an_older_version_can_be_exported(app: App) -> None:
    assert tables("--version", 1) == ["city"]


def test_the_draft_can_be_exported(app: App) -> None:
    app.tables.get(name="city").delete()
    assert tables("--draft") == ["country"]


def test_each_format_is_written_as_such(app: App) -> None:
    assert 'const cityTable = table("city")' in run("shop", "--format", "typescript")
    assert json.loads(run("shop", "--format", "permissions-json")) == {"tables": {}}


def test_output_writes_the_same_into_a_file(app: App, tmp_path: Path) -> None:
    """The command then says nothing."""
    path = tmp_path / "schema.ts"
    assert run("shop", "--format", "typescript", "--output", path) == ""
    assert path.read_text() == run("shop", "--format", "typescript")


def test_a_file_that_cannot_be_written_is_named_with_the_reason(app: App, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=f"{tmp_path} cannot be written: Is a directory"):
        run("shop", "--format", "typescript", "--output", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope", "--format", "zero-json"], "There is no app 'nope'"),
        (["empty", "--format", "zero-json"], "CS204: empty has never been published"),
        (["shop", "--format", "zero-json", "--version", "3"], "CS204: shop has no published version 3"),
        (["shop", "--format", "zero-json", "--version", "7"], "CS204: shop has no published version 7"),
        (["shop", "--format", "zero-json", "--version", "1", "--draft"], "not allowed with"),
        (["shop", "--format", "yaml"], "invalid choice"),
        (["shop"], "--format"),
    ],
)
def test_what_does_not_exist_is_refused(app: App, arguments: list[str], message: str) -> None:
    """Version 3 is still being published."""
    App.objects.create(app_id="empty")
    build_table(app, "street", {"_id": {}})
    begin_publish(app)
    with pytest.raises(CommandError, match=message):
        run(*arguments)


def test_a_draft_with_problems_is_not_exported(app: App) -> None:
    """The error lists the problems."""
    Column.objects.filter(name="name").update(name="my name")
    with pytest.raises(CommandError, match=r"CS201: The draft of shop cannot be exported\.\ncity\.my name\.name: "):
        run("shop", "--format", "zero-json", "--draft")


def test_relationships_that_zero_refuses_are_an_error_with_their_place(app: App) -> None:
    App.objects.update(relationships={"city": {"twin": []}})
    with pytest.raises(CommandError, match=r"CS201: .*\ncity\.relationships: city\.twin: "):
        run("shop", "--format", "typescript", "--draft")
