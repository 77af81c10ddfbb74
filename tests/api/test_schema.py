"""`GET /api/apps/<app>/schema`."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from changesource.models import App, Column
from changesource.publishing.exported import export_draft, export_version
from changesource.publishing.exports import EXPORT_FORMATS
from changesource.publishing.versions import begin_publish
from tests.models.builders import build_app, build_table

pytestmark = pytest.mark.django_db

ADDRESS = "/api/apps/shop/schema"


@pytest.fixture(autouse=True)
def surroundings(settings) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}


@pytest.fixture
def app() -> App:
    """A published app, with one more table in its draft."""
    app = build_app()
    begin_publish(app)
    build_table(app, "country", {"_id": {}})
    return app


@pytest.fixture
def user(client) -> User:
    """A logged-in member of the staff who may view apps, their versions and their drafts."""
    user = User.objects.create_user("ada", is_staff=True)
    seen = ["view_app", "view_version", "view_table", "view_column"]
    user.user_permissions.add(*Permission.objects.filter(codename__in=seen))
    client.force_login(user)
    return user


@pytest.mark.parametrize("name", EXPORT_FORMATS)
@pytest.mark.parametrize("version", [None, "1", "draft"])
def test_the_file_is_what_the_command_writes(client, app: App, user: User, name: str, version: str | None) -> None:
    """It has a file name."""
    export_format = EXPORT_FORMATS[name]
    expected = export_draft(app, export_format) if version == "draft" else export_version(app, export_format, 1)
    response = client.get(ADDRESS, {"format": name, **({"version": version} if version else {})})
    assert (response.status_code, response.content.decode()) == (200, expected.text)
    assert response["Content-Type"] == export_format.content_type
    state = "draft" if version == "draft" else "v1"
    assert response["Content-Disposition"] == f'attachment; filename="shop-{state}.{export_format.ending}"'
    assert response["Cache-Control"] == "no-store"


def test_the_default_format_is_zeros_json(client, app: App, user: User) -> None:
    """No format is given."""
    assert list(client.get(ADDRESS).json()["tables"]) == ["city"]


@pytest.mark.parametrize(
    ("address", "parameters", "status", "detail"),
    [
        ("/api/apps/nope/schema", {}, 404, "no app with this id"),
        ("/api/apps/Caf%C3%A9%00/schema", {}, 404, "no app"),
        ("/api/apps/empty/schema", {}, 404, "CS204: empty has never been published"),
        ("/api/apps/empty/schema", {"version": "draft"}, 409, "CS201: The draft of empty cannot be exported"),
        (ADDRESS, {"version": "2"}, 404, "CS204: shop has no published version 2"),
        (ADDRESS, {"version": "1.5"}, 400, "version: "),
        (ADDRESS, {"version": "²"}, 400, "version: "),
        (ADDRESS, {"version": "9" * 30}, 400, "version: "),
        (ADDRESS, {"version": ""}, 400, "version: "),
        (ADDRESS, {"format": "yaml"}, 400, "format: Choose one of zero-json, typescript, permissions-json"),
    ],
)
def test_a_refusal_is_json(
    client, app: App, user: User, address: str, parameters: dict[str, str], status: int, detail: str
) -> None:
    """For what does not exist, and for requests that are not valid."""
    App.objects.create(app_id="empty")
    response = client.get(address, parameters)
    assert response.status_code == status
    assert detail in response.json()["detail"]


def test_a_draft_with_problems_is_refused_with_all_of_them(client, app: App, user: User) -> None:
    """It cannot be exported."""
    Column.objects.filter(name="name").update(name="my name")
    response = client.get(ADDRESS, {"version": "draft"})
    assert response.status_code == 409
    assert "city.my name.name: " in response.json()["detail"]


@pytest.mark.parametrize("address", [ADDRESS, "/api/apps/nope/schema"])
def test_without_a_login_every_request_is_refused(client, app: App, address: str) -> None:
    """With 401, whatever it asks for."""
    response = client.get(address, {"format": "typescript"})
    assert (response.status_code, response["WWW-Authenticate"]) == (401, 'Session realm="admin"')


@pytest.mark.parametrize("address", [ADDRESS, "/api/apps/nope/schema"])
@pytest.mark.parametrize("missing", ["is_staff", "permission"])
def test_without_permission_no_app_is_exported_or_revealed(
    client, app: App, user: User, address: str, missing: str
) -> None:
    """The user may not view apps in admin."""
    if missing == "is_staff":
        User.objects.update(is_staff=False)
    else:
        user.user_permissions.clear()
    assert client.get(address, {"format": "typescript"}).status_code == 403


@pytest.mark.parametrize(
    ("missing", "version"), [("version", "1"), ("version", None), ("table", "draft"), ("column", "draft")]
)
def test_an_export_takes_the_permissions_that_admin_asks_for(
    client, app: App, user: User, missing: str, version: str | None
) -> None:
    """For a version to view versions, for a draft to view its tables and columns."""
    user.user_permissions.remove(Permission.objects.get(codename=f"view_{missing}"))
    parameters = {} if version is None else {"version": version}
    assert client.get(ADDRESS, parameters).status_code == 403


class OwnApps:
    """A permission backend with object permissions: users may view the app that has their name."""

    def authenticate(self, request: Any) -> None:
        return None

    def has_perm(self, user: User, permission: str, app: App | None = None) -> bool:
        permissions = ("changesource.view_app", "changesource.view_version")
        return permission in permissions and app is not None and app.app_id == user.username


def test_a_permission_for_one_app_covers_no_other(client, app: App, user: User, settings) -> None:
    """The backend decides by object."""
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", f"{__name__}.OwnApps"]
    user.user_permissions.clear()
    User.objects.update(username="shop")
    build_app("other")
    assert client.get(ADDRESS).status_code == 200
    assert client.get("/api/apps/other/schema").status_code == 403
    assert client.get(ADDRESS, {"version": "draft"}).status_code == 403


def test_only_get_is_allowed(client, app: App, user: User) -> None:
    """There is nothing to send."""
    assert client.post(ADDRESS, {}).status_code == 405
