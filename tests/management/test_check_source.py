"""`check_source`: its output, for people and for scripts, and its exit status."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pymongo
import pytest
from django.core.management import CommandError, call_command

from changesource import checks
from changesource.models import App, Table
from changesource.publishing.release import PreImages
from changesource.publishing.versions import begin_publish
from tests.models.builders import build_app
from tests.mongo.impatience import do_not_wait
from zerosources.embedded.ports import free_port
from zerosources.embedded.servers import MongoServer

pytestmark = pytest.mark.django_db

DATABASE = "check_source"


@pytest.fixture
def app(settings: Any, mongo_server: MongoServer) -> App:
    """An app that is published from a server where all is well."""
    settings.CHANGESOURCE_SOURCES = {"default": mongo_server.uri(DATABASE)}
    with pymongo.MongoClient[dict[str, Any]](mongo_server.uri(DATABASE)) as client:
        client[DATABASE].drop_collection("city")
        client[DATABASE].create_collection("city")
    app = build_app()
    begin_publish(app)
    return app


@pytest.fixture
def unwinding(app: App) -> App:
    """One whose table needs pre-images, which nobody records."""
    mapping = {"pipeline": [{"$unwind": {"path": "$items", "includeArrayIndex": "place"}}]}
    table = Table.objects.create(
        app=app, name="item", collection="orders", position=1, mapping=json.dumps(mapping), primary_key=["_id", "place"]
    )
    table.columns.create(name="_id", position=0)
    table.columns.create(name="place", type="number", position=1)
    begin_publish(app, recorded=PreImages("default", frozenset({"orders"})), resets=True)
    return app


@pytest.fixture
def unreachable(app: App, settings: Any, monkeypatch: pytest.MonkeyPatch) -> App:
    do_not_wait(monkeypatch)
    settings.CHANGESOURCE_SOURCES = {"default": f"mongodb://user:secret@127.0.0.1:{free_port()}/shop?replicaSet=none"}
    return app


def run(*arguments: str) -> tuple[str, str]:
    """What the command writes to stdout, and why it fails: empty when it does not."""
    output = StringIO()
    try:
        call_command("check_source", *arguments, stdout=output, no_color=True)
    except CommandError as error:
        return output.getvalue(), str(error)
    return output.getvalue(), ""


@pytest.mark.usefixtures("app")
def test_source_where_all_is_well() -> None:
    """Nothing fails; a line says so, and one for each check what was found."""
    output, failure = run()
    assert failure == ""
    assert output.splitlines()[0].startswith("Source default: usable")
    assert "server: MongoDB 8" in output
    assert "images of shop: city: Table city: latest state." in output
    assert "privilege insert on zero_sources_markers: Held." in output


@pytest.mark.usefixtures("app")
def test_the_json_has_the_status_of_the_source_and_of_each_check() -> None:
    """And what each check measured."""
    output, failure = run("--json")
    report = json.loads(output)
    assert failure == ""
    assert (report["source"], report["status"] in ("ok", "unknown")) == ("default", True)
    [images] = [check for check in report["checks"] if check["name"] == "images of shop: city"]
    assert images["values"] == {"guarantee": "latest state", "is_recorded": False, "is_needed": False}
    [server] = [check for check in report["checks"] if check["name"] == "server"]
    assert server["values"]["topology"].startswith(("replica set ", "sharded cluster"))


@pytest.mark.usefixtures("unwinding")
def test_missing_pre_images_are_an_error_with_the_command_to_run() -> None:
    """The JSON is written all the same."""
    output, failure = run("--json")
    assert failure == "Source default: cannot be used as it is, 1 error."
    [images] = [check for check in json.loads(output)["checks"] if check["status"] == "error"]
    assert images["name"] == "images of shop: orders"
    assert 'collMod: "orders"' in images["remedy"]


def test_tables_with_filter_columns_need_pre_images_too(app: App) -> None:
    app.tables.update(filter_columns=["name"])
    begin_publish(app, recorded=PreImages("default", frozenset({"city"})), resets=True)
    output, failure = run()
    assert failure == "Source default: cannot be used as it is, 1 error."
    assert "city records no pre-images, which tell what rows there were before a change" in output


@pytest.mark.usefixtures("unreachable")
def test_an_unreachable_source_is_an_error_with_its_code() -> None:
    """It shows neither host nor password."""
    output, failure = run()
    assert "CS103" in output
    assert "1 error" in failure
    assert "secret" not in output + failure
    assert "127.0.0.1" not in output + failure


def test_a_standalone_is_refused_with_what_to_do(settings: Any, run_dir: Path) -> None:
    with MongoServer(run_dir / "mongodb-command-standalone", standalone=True) as server:
        settings.CHANGESOURCE_SOURCES = {"default": server.uri("shop")}
        output, failure = run()
    assert failure
    assert "rs.initiate()" in output


def test_a_source_without_a_uri_is_an_error_that_names_the_variable(settings: Any) -> None:
    settings.CHANGESOURCE_SOURCES = {}
    output, failure = run("archive")
    assert failure
    assert "MONGODB_URI_ARCHIVE" in output


# The same behind `check --database`


@pytest.mark.usefixtures("app")
def test_the_system_check_says_nothing_where_all_is_well() -> None:
    assert checks.check_published_sources(None, databases=["default"]) == []


@pytest.mark.usefixtures("unwinding")
def test_the_system_check_turns_an_error_into_a_warning_with_the_remedy() -> None:
    """An error would stop `migrate`."""
    [message] = checks.check_published_sources(None, databases=["default"])
    assert (message.id, message.is_serious()) == ("changesource.W006", False)
    assert "images of shop: orders" in message.msg
    assert 'collMod: "orders"' in str(message.hint)


@pytest.mark.usefixtures("unreachable")
def test_the_system_check_shows_neither_host_nor_password() -> None:
    """Of a source that it cannot reach."""
    [message] = checks.check_published_sources(None, databases=["default"])
    assert message.id == "changesource.W006"
    assert "secret" not in str(message)
    assert "127.0.0.1" not in str(message)


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("databases", [None, [], ["other"]])
def test_nobody_asks_without_a_database(databases: Any) -> None:
    """Without `--database` no source is asked."""
    assert checks.check_published_sources(None, databases=databases) == []


def test_a_source_of_which_nothing_is_published_is_not_asked(settings: Any) -> None:
    """`migrate` of a new project waits for nothing."""
    settings.CHANGESOURCE_SOURCES = {"default": f"mongodb://127.0.0.1:{free_port()}/shop"}
    build_app()
    assert checks.check_published_sources(None, databases=["default"]) == []
