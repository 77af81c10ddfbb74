"""GET /api/apps/<app>/schema?format=…&version=…"""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from rest_framework import status
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import APIException, NotFound, ParseError, PermissionDenied
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.views import APIView

from changesource.errors import InvalidDefinition, UnknownVersion
from changesource.models import App
from changesource.models.roles import may_view, may_view_draft
from changesource.publishing.exported import DRAFT, ExportedFile, export_draft, export_version
from changesource.publishing.exports import EXPORT_FORMATS

DEFAULT_FORMAT = "zero-json"
MAX_VERSION_DIGITS = 9
"""With more digits a number may be larger than a database accepts."""


class Session(SessionAuthentication):
    """The session of admin. A request without one gets 401 rather than 403."""

    def authenticate_header(self, request: Request) -> str:
        return 'Session realm="admin"'


class OneRenderer(BaseContentNegotiation):
    """Errors are always JSON: `format` is the view's own parameter, not REST framework's."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class NotExportable(APIException):
    """The format cannot express the app; the detail names the places."""

    status_code = status.HTTP_409_CONFLICT


class SchemaView(APIView):
    """The schema or the permissions of an app as a file, for staff who may view its content in
    admin: the app's versions, or the tables of its draft.

    `format` is one of `EXPORT_FORMATS` (default: zero-json); `version` is a number or `draft`
    (default: the published version).
    """

    authentication_classes = [Session]
    permission_classes = [IsAdminUser]
    content_negotiation_class = OneRenderer

    def get(self, request: Request, app_id: str) -> HttpResponse:
        app = visible_app(request, app_id)
        try:
            exported = _export(app, request)
        except UnknownVersion as exc:
            raise NotFound(str(exc)) from exc
        except InvalidDefinition as exc:
            raise NotExportable(str(exc)) from exc
        return HttpResponse(
            exported.text,
            content_type=exported.content_type,
            headers={"Content-Disposition": f'attachment; filename="{exported.name}"', "Cache-Control": "no-store"},
        )


def visible_app(request: Request, app_id: str) -> App:
    """The app, if admin shows it to this user. Raises `PermissionDenied`, `NotFound`."""
    app = App.objects.find(app_id)
    if not may_view(request.user, "app", app):
        raise PermissionDenied
    if app is None:
        raise NotFound("There is no app with this id.")
    return app


def _export(app: App, request: Request) -> ExportedFile:
    name = request.query_params.get("format", DEFAULT_FORMAT)
    if name not in EXPORT_FORMATS:
        raise ParseError(f"format: Choose one of {', '.join(EXPORT_FORMATS)}.")
    version = request.query_params.get("version")
    may_see = may_view_draft(request.user, app) if version == DRAFT else may_view(request.user, "version", app)
    if not may_see:
        raise PermissionDenied
    if version == DRAFT:
        return export_draft(app, EXPORT_FORMATS[name])
    if version is not None and not (version.isascii() and version.isdecimal() and len(version) <= MAX_VERSION_DIGITS):
        raise ParseError(f"version: Write the number of a version, or {DRAFT}.")
    return export_version(app, EXPORT_FORMATS[name], None if version is None else int(version))
