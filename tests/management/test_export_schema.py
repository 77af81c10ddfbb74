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


def test_version_in_force(app: App) -> None:
    """By default it is what streams: not the draft, and not a version that is being published."""
    build_table(app, "street", {"_id": {}})
    begin_publish(app)
    assert tables() == ["city", "country"]


def test_version(app: App) -> None:
    """An older version can be had as well."""
    assert tables("--version", 1) == ["city"]


def test_draft(app: App) -> None:
    """So can the draft."""
    app.tables.get(name="city").delete()
    assert tables("--draft") == ["country"]


def test_typescript(app: App) -> None:
    """Each format is what it says."""
    assert 'const cityTable = table("city")' in run("shop", "--format", "typescript")
    assert json.loads(run("shop", "--format", "permissions-json")) == {"tables": {}}


def test_file(app: App, tmp_path: Path) -> None:
    """`--output` writes the same into a file, and says nothing."""
    path = tmp_path / "schema.ts"
    assert run("shop", "--format", "typescript", "--output", path) == ""
    assert path.read_text() == run("shop", "--format", "typescript")


def test_file_that_cannot_be_written(app: App, tmp_path: Path) -> None:
    """It is said which, and why."""
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
def test_refusals(app: App, arguments: list[str], message: str) -> None:
    """What is not there is said; version 3 is being published."""
    App.objects.create(app_id="empty")
    build_table(app, "street", {"_id": {}})
    begin_publish(app)
    with pytest.raises(CommandError, match=message):
        run(*arguments)


def test_draft_with_problems(app: App) -> None:
    """A draft that could not be published is not exported; its problems are said."""
    Column.objects.filter(name="name").update(name="my name")
    with pytest.raises(CommandError, match=r"CS201: The draft of shop cannot be exported\.\ncity\.my name\.name: "):
        run("shop", "--format", "zero-json", "--draft")


def test_relationships_that_zero_refuses(app: App) -> None:
    """Relationships are told with their place."""
    App.objects.update(relationships={"city": {"twin": []}})
    with pytest.raises(CommandError, match=r"CS201: .*\ncity\.relationships: city\.twin: "):
        run("shop", "--format", "typescript", "--draft")
