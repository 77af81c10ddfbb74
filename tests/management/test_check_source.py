"""`check_source`: what is promised of the collections that are published."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from changesource.streaming.publisher import publish_app
from tests.models.builders import build_app, build_table
from tests.streaming.sources import ITEMS, PlainDatabase

pytestmark = pytest.mark.django_db

OFF = {"changeStreamPreAndPostImages": {"enabled": False}}


def run(*arguments: str) -> list[str]:
    """The lines on stdout; also when the command fails, in `args[1]`."""
    output = StringIO()
    try:
        call_command("check_source", *arguments, stdout=output)
    except CommandError as error:
        raise CommandError(str(error), output.getvalue().splitlines()) from error
    return output.getvalue().splitlines()


@pytest.fixture
def published(source_database: PlainDatabase) -> None:
    """An app with the collections `city`, and `orders`, of which it needs pre-images."""
    app = build_app()
    columns = {"sku": {}, "order": {}}
    build_table(app, "item", columns, collection="orders", mapping=ITEMS, primary_key=["sku", "order"])
    publish_app(app)


def test_nothing_published(source_database: PlainDatabase) -> None:
    """Drafts are not looked at."""
    build_app()
    [line] = run()
    assert line.startswith("Source default: usable. MongoDB ")


@pytest.mark.usefixtures("published")
def test_guarantees() -> None:
    """Each collection has its guarantee."""
    assert run()[1:] == [
        "App shop, collection city: latest state (no post-images).",
        "App shop, collection orders: exact (post-images recorded).",
    ]


@pytest.mark.usefixtures("published")
def test_other_sources(settings) -> None:
    """Apps of other sources are not asked for."""
    settings.CHANGESOURCE_SOURCES = {"archive": settings.CHANGESOURCE_SOURCES["default"]}
    assert len(run("archive")) == 1


@pytest.mark.usefixtures("published")
def test_missing_pre_images(source_database: PlainDatabase) -> None:
    """A table that needs them and has them no more is reported with the command to run."""
    source_database.command({"collMod": "orders", **OFF})
    with pytest.raises(CommandError, match=r'orders records no pre-images.* item need.*collMod: "orders"') as failed:
        run()
    assert failed.value.args[1][1:] == [
        "App shop, collection city: latest state (no post-images).",
        "App shop, collection orders: latest state (no post-images).",
    ]


def test_unknown_source() -> None:
    """A source without a URI is refused."""
    with pytest.raises(CommandError, match="Source nope: CS101"):
        run("nope")
