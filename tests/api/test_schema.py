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
def surroundings(settings, tmp_path) -> None:
    settings.CHANGESOURCE_SOURCES = {"default": "mongodb://localhost/shop"}
    settings.STATIC_ROOT = str(tmp_path)  # WhiteNoise warns of a folder that is missing before collectstatic


@pytest.fixture
def app() -> App:
    """Published, with one more table in its draft."""
    app = build_app()
    begin_publish(app)
    build_table(app, "country", {"_id": {}})
    return app


@pytest.fixture
def user(client) -> User:
    """Staff who may see apps, their versions and their drafts, logged in."""
    user = User.objects.create_user("ada", is_staff=True)
    seen = ["view_app", "view_version", "view_table", "view_column"]
    user.user_permissions.add(*Permission.objects.filter(codename__in=seen))
    client.force_login(user)
    return user


@pytest.mark.parametrize("name", EXPORT_FORMATS)
@pytest.mark.parametrize("version", [None, "1", "draft"])
def test_file(client, app: App, user: User, name: str, version: str | None) -> None:
    """It is what the command writes, as a file with a name."""
    export_format = EXPORT_FORMATS[name]
    expected = export_draft(app, export_format) if version == "draft" else export_version(app, export_format, 1)
    response = client.get(ADDRESS, {"format": name, **({"version": version} if version else {})})
    assert (response.status_code, response.content.decode()) == (200, expected.text)
    assert response["Content-Type"] == export_format.content_type
    state = "draft" if version == "draft" else "v1"
    assert response["Content-Disposition"] == f'attachment; filename="shop-{state}.{export_format.ending}"'
    assert response["Cache-Control"] == "no-store"


def test_default_format(client, app: App, user: User) -> None:
    """Without a format, it is Zero's JSON."""
    assert list(client.get(ADDRESS).json()["tables"]) == ["city"]


@pytest.mark.parametrize(
    ("address", "parameters", "status", "detail"),
    [
        ("/api/apps/nope/schema", {}, 404, "no app of this id"),
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
def test_refusals(
    client, app: App, user: User, address: str, parameters: dict[str, str], status: int, detail: str
) -> None:
    """What is not there, and what cannot be asked, is said in JSON."""
    App.objects.create(app_id="empty")
    response = client.get(address, parameters)
    assert response.status_code == status
    assert detail in response.json()["detail"]


def test_draft_with_problems(client, app: App, user: User) -> None:
    """Its problems are said."""
    Column.objects.filter(name="name").update(name="my name")
    response = client.get(ADDRESS, {"version": "draft"})
    assert response.status_code == 409
    assert "city.my name.name: " in response.json()["detail"]


@pytest.mark.parametrize("address", [ADDRESS, "/api/apps/nope/schema"])
def test_without_login(client, app: App, address: str) -> None:
    """Who is not logged in is told so, whatever is asked for."""
    response = client.get(address, {"format": "typescript"})
    assert (response.status_code, response["WWW-Authenticate"]) == (401, 'Session realm="admin"')


@pytest.mark.parametrize("address", [ADDRESS, "/api/apps/nope/schema"])
@pytest.mark.parametrize("missing", ["is_staff", "permission"])
def test_without_permission(client, app: App, user: User, address: str, missing: str) -> None:
    """Who may not see apps in admin may not export them, nor learn which there are."""
    if missing == "is_staff":
        User.objects.update(is_staff=False)
    else:
        user.user_permissions.clear()
    assert client.get(address, {"format": "typescript"}).status_code == 403


@pytest.mark.parametrize(
    ("missing", "version"), [("version", "1"), ("version", None), ("table", "draft"), ("column", "draft")]
)
def test_what_is_not_shown_in_admin(client, app: App, user: User, missing: str, version: str | None) -> None:
    """A version takes the permission to view versions, a draft those to view its tables and their columns."""
    user.user_permissions.remove(Permission.objects.get(codename=f"view_{missing}"))
    parameters = {} if version is None else {"version": version}
    assert client.get(ADDRESS, parameters).status_code == 403


class OwnApps:
    """A permission backend that knows objects: everybody may see the app that bears their name."""

    def authenticate(self, request: Any) -> None:
        return None

    def has_perm(self, user: User, permission: str, app: App | None = None) -> bool:
        permissions = ("changesource.view_app", "changesource.view_version")
        return permission in permissions and app is not None and app.app_id == user.username


def test_permission_for_one_app(client, app: App, user: User, settings) -> None:
    """A permission for one app is one for that alone."""
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend", f"{__name__}.OwnApps"]
    user.user_permissions.clear()
    User.objects.update(username="shop")
    build_app("other")
    assert client.get(ADDRESS).status_code == 200
    assert client.get("/api/apps/other/schema").status_code == 403
    assert client.get(ADDRESS, {"version": "draft"}).status_code == 403


def test_only_reading(client, app: App, user: User) -> None:
    """Nothing can be sent there."""
    assert client.post(ADDRESS, {}).status_code == 405
