"""What is wrong with one table of a draft."""

import pytest

from changesource.models import App, Column, Table
from changesource.publishing.edited_table import find_problems_of_edit
from tests.models.builders import build_app, build_table

pytestmark = pytest.mark.django_db

ID = Column(name="_id")


@pytest.fixture
def app() -> App:
    return build_app()


def places(table: Table, *columns: Column) -> list[tuple[str, str]]:
    return [(problem.column, problem.attribute) for problem in find_problems_of_edit(table, columns)]


def test_a_sound_table_has_no_problems(app: App) -> None:
    """A table that may be published has no problems, stored or not."""
    stored = app.tables.get()
    assert places(stored, *stored.columns.all()) == []
    assert places(Table(app=app, name="country"), ID) == []


def test_the_tables_own_problems_are_found(app: App) -> None:
    """Problems of the table and of its columns are found."""
    bad = Table(app=app, name="my table", primary_key=["id"], mapping="{")
    assert places(bad, ID, Column(name="n", type="text")) == [
        ("", "name"),
        ("", "server_name"),
        ("n", "type"),
        ("", "primary_key"),
        ("", "mapping"),
    ]


def test_a_clash_names_the_edited_table(app: App) -> None:
    """A server name that another table has is this table's problem, whichever comes first."""
    [problem] = find_problems_of_edit(Table(app=app, name="town", server_name="CITY"), [ID])
    assert (problem.table, problem.attribute) == ("town", "server_name")


def test_problems_of_other_tables_are_left_out(app: App) -> None:
    """What is wrong with other tables is not said here."""
    build_table(app, "my table", {"id": {}})
    assert places(Table(app=app, name="country"), ID) == []


def test_a_table_without_an_app_is_checked_alone() -> None:
    """A table without an app, as in a form that is half filled, is looked at alone."""
    assert places(Table(name="1st", server_name="first"), ID) == [("", "name")]
