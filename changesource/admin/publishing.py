"""The pages of an app on which its draft becomes a version: the difference, the history, an old version again."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from changesource.admin.draft_state import draft_state
from changesource.errors import ChangeSourceError, ClientsCutOff, DraftChanged, PublishUnderWay, SourceUnusable
from changesource.models import App, Version
from changesource.models.draft import draft_definition
from changesource.models.roles import may_view, may_view_draft
from changesource.operations.publish_estimate import PublishEstimate, estimate_publish
from changesource.operations.publisher import publish_app
from changesource.publishing.definition_problems import Problem, find_problems
from changesource.publishing.differences import Difference, compare_versions
from changesource.publishing.drafts import replace_draft_by_version
from changesource.publishing.grants import CutOff, find_cut_off
from changesource.publishing.versions import (
    needed_pre_images,
    newest_version,
    publishable_draft,
    review_digest,
)


@dataclass(frozen=True, slots=True)
class PlacedProblem:
    """Why a draft cannot be published, and the address of the input, or the page, that has to change."""

    place: str
    message: str
    address: str


class PublishingPages(admin.ModelAdmin):
    """The pages show what tables and versions say, so they take the permission to view these besides the app. Publishing
    takes the permission to publish, an old version again that to change the app and its tables. What clients may read is
    shown to those who may view clients and grants."""

    change_form_template = "admin/changesource/app/change_form.html"

    class Media:
        css = {"all": ["changesource/admin.css"]}

    def get_urls(self) -> list[URLPattern]:
        pages: list[tuple[str, str, Callable[..., HttpResponse]]] = [
            ("publish", "publish/", self.publish_view),
            ("versions", "versions/", self.versions_view),
            ("compare", "versions/compare/", self.compare_view),
            ("restore", "versions/<int:number>/draft/", self.restore_view),
        ]
        own = [
            path(f"<path:object_id>/{route}", self.admin_site.admin_view(view), name=f"changesource_app_{name}")
            for name, route, view in pages
        ]
        return [*own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        app = context.get("original")
        context["draft_state"] = draft_state(app) if app else None
        context["may_review"] = app is not None and self.has_review_permission(request, app)
        context["may_see_versions"] = app is not None and may_view(request.user, "version", app)
        return super().render_change_form(request, context, *args, **kwargs)

    def has_publish_permission(self, request: HttpRequest, app: App | None = None) -> bool:
        """Whether the user may publish `app`, or any app at all for None. Backends with object permissions count."""
        if request.user.has_perm("changesource.publish_app"):
            return True
        if app is None:
            return any(self.has_publish_permission(request, app) for app in App.objects.all())
        return request.user.has_perm("changesource.publish_app", app)

    def has_review_permission(self, request: HttpRequest, app: App) -> bool:
        """Whether the user may see how the draft of `app` differs from its versions."""
        return may_view_draft(request.user, app) and may_view(request.user, "version", app)

    def has_restore_permission(self, request: HttpRequest, app: App) -> bool:
        """Whether the user may put another draft in place of that of `app`, with all its tables."""
        tables = [f"changesource.{action}_table" for action in ("add", "delete")]
        may_change = self.has_change_permission(request, app) and request.user.has_perms(tables)
        return may_change and self.has_review_permission(request, app)

    def publish_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The difference of the draft to what streams; by POST, publishes what was shown."""
        app = self._app(request, object_id)
        if not self.has_review_permission(request, app):
            raise PermissionDenied
        may_publish = self.has_publish_permission(request, app)
        if request.method == "POST":
            if not may_publish:
                raise PermissionDenied
            return self._publish(request, app)
        # Taken first: what is changed from here on is not what the page shows.
        reviewed = review_digest(app)
        context = {"title": f"Review and publish {app}", "reviewed": reviewed, "may_publish": may_publish}
        draft = draft_definition(app)
        newest = newest_version(app)
        cut_off: list[CutOff] = []
        problems = [_placed(app, problem) for problem in find_problems(draft)]
        if not problems:
            cut_off = find_cut_off(app, draft)
            refusing = [found for found in cut_off if found.refuses]
            problems = [*map(_placed_at_client, refusing)] if may_see_clients(request) else _unnamed(refusing)
        if problems:
            context["problems"] = problems
        else:
            clients = len({found.client_id for found in cut_off})
            context |= {"cut_off": cut_off} if may_see_clients(request) else {"cut_off_clients": clients}
            difference = compare_versions(newest.to_definition() if newest else None, draft)
            context |= {"difference": difference, **_source_context(app, difference)}
        return self._page(request, "publish", app, context)

    def _publish(self, request: HttpRequest, app: App) -> HttpResponse:
        before = newest_version(app)
        again = HttpResponseRedirect(_address("publish", app))
        try:
            version = publish_app(
                app,
                cast(User, request.user),
                resets="resets" in request.POST,
                reviewed=request.POST.get("reviewed") or "nothing",
            )
        except DraftChanged:
            self.message_user(request, _what_happened(app), messages.WARNING)
            return again
        except PublishUnderWay:
            text = f"Somebody else is publishing {app} at this moment. Nothing of yours was published; look again."
            self.message_user(request, text, messages.WARNING)
            return again
        except ChangeSourceError as error:
            self.message_user(request, said_to(request, error), messages.ERROR)
            if isinstance(error, SourceUnusable):
                text = (
                    "If the source may not be written to, publish without a marker: see the choice beside the button."
                )
                self.message_user(request, text, messages.INFO)
            return again
        if version == before:
            text = f"The draft of {app} says what version {version.number} says; there is nothing to publish."
            self.message_user(request, text, messages.INFO)
        else:
            self.log_change(request, app, f"Published version {version.number}.")
            self.message_user(request, f"Published version {version.number} of {app}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:changesource_app_change", args=[app.pk]))

    def versions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """All versions of an app, newest first."""
        app = self._app_with_versions(request, object_id)
        versions = list(app.versions.select_related("published_by").defer("definition").order_by("-number"))
        newest = newest_version(app)
        context = {
            "title": f"Versions of {app}",
            "versions": [(version, _state(version, newest)) for version in versions],
            "may_restore": self.has_restore_permission(request, app),
        }
        return self._page(request, "versions", app, context)

    def compare_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The difference of two versions, `?old=1&new=2`."""
        app = self._app_with_versions(request, object_id)
        old = self._version(app, request.GET.get("old", ""))
        new = self._version(app, request.GET.get("new", ""))
        context = {
            "title": f"{app}: from version {old.number} to version {new.number}",
            "old": old,
            "new": new,
            "difference": compare_versions(old.to_definition(), new.to_definition()),
        }
        return self._page(request, "compare", app, context)

    def restore_view(self, request: HttpRequest, object_id: str, number: int) -> HttpResponse:
        """What the draft loses when an old version takes its place; by POST, puts it there."""
        app = self._app(request, object_id)
        version = self._version(app, str(number))
        if not self.has_restore_permission(request, app):
            raise PermissionDenied
        if request.method == "POST":
            return self._restore(request, app, version)
        draft = draft_definition(app)
        context = {
            "title": f"Put version {number} of {app} into the draft",
            "version": version,
            "reviewed": review_digest(app),
            "is_lost": draft_state(app).differs,
            "difference": None if find_problems(draft) else compare_versions(draft, version.to_definition()),
        }
        return self._page(request, "restore", app, context)

    def _restore(self, request: HttpRequest, app: App, version: Version) -> HttpResponse:
        if request.POST.get("reviewed") != review_digest(app):
            text = f"The draft of {app} was changed while you looked at it. Nothing was done; this is what it would lose now."
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(_address("restore", app, version.number))
        try:
            replace_draft_by_version(version)
        except ChangeSourceError as error:
            self.message_user(request, said_to(request, error), messages.ERROR)
            return HttpResponseRedirect(_address("versions", app))
        self.log_change(request, app, f"Put version {version.number} into the draft.")
        text = f"The draft of {app} now says what version {version.number} says. Publish it here."
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(_address("publish", app))

    def _app(self, request: HttpRequest, object_id: str) -> App:
        app = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, app):
            raise PermissionDenied
        if app is None:
            raise Http404(f"There is no app {object_id!r}.")
        return cast(App, app)

    def _app_with_versions(self, request: HttpRequest, object_id: str) -> App:
        app = self._app(request, object_id)
        if not may_view(request.user, "version", app):
            raise PermissionDenied
        return app

    def _version(self, app: App, number: str) -> Version:
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        version = app.versions.filter(number=int(number)).first() if is_number else None
        if version is None:
            raise Http404(f"{app} has no version {number!r}.")
        return version

    def _page(self, request: HttpRequest, name: str, app: App, context: dict[str, Any]) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "app": app,
            "draft_state": draft_state(app),
            "may_review": self.has_review_permission(request, app),
            **context,
        }
        return TemplateResponse(request, f"admin/changesource/app/{name}.html", context)


def _address(page: str, app: App, *arguments: Any) -> str:
    return reverse(f"admin:changesource_app_{page}", args=[app.pk, *arguments])


def may_see_clients(request: HttpRequest) -> bool:
    """Whether the user may see which clients there are, and what each may read."""
    return all(may_view(request.user, model) for model in ("client", "grant"))


def said_to(request: HttpRequest, error: ChangeSourceError) -> SafeString:
    """`error` as the user may read it, with a line for each of its own."""
    if isinstance(error, ClientsCutOff) and not may_see_clients(request):
        error = ClientsCutOff()
    return format_html_join(SafeString("<br>"), "{}", ((line,) for line in str(error).splitlines()))


def _what_happened(app: App) -> str:
    """Why what was shown was not published."""
    newest = newest_version(app)
    text = f"Nothing of {app} was published, because the draft or what streams is not what you were shown."
    if newest is not None:
        author = f" by {newest.published_by}" if newest.published_by else ""
        text += f" Version {newest.number}, published{author}, streams."
    return f"{text} This is the difference now."


def _state(version: Version, newest: Version | None) -> str:
    if version.cluster_time is None:
        return "being published"
    return "streams" if version == newest else "earlier"


def _source_context(app: App, difference: Difference) -> dict[str, Any]:
    """What the source says about a publish: an `estimate`, or why there is none; and what keeps it from being published."""
    try:
        draft = publishable_draft(app)
    except ChangeSourceError as error:
        return {"refusal": str(error)}
    try:
        pre_images = needed_pre_images(draft)
        estimate = estimate_publish(draft, difference.loaded_collections, sorted(pre_images.collections))
    except ChangeSourceError as error:
        return {"estimate_failure": str(error)}
    if refused := estimate.collections.refused:
        return {"problems": [_placed(app, problem) for problem in refused]}
    return {
        "collection_warnings": [_placed(app, problem) for problem in estimate.collections.warnings],
        "estimate": estimate,
        "loaded": _loaded(difference, estimate),
    }


def _loaded(difference: Difference, estimate: PublishEstimate) -> list[tuple[str, str, int]]:
    """Table, collection and documents of each table whose rows are read."""
    return [
        (table.name, table.collection, estimate.documents[table.collection])
        for table in difference.tables
        if table.loads
    ]


def _placed_at_client(cut_off: CutOff) -> PlacedProblem:
    address = reverse("admin:changesource_client_change", args=[cut_off.client_id])
    return PlacedProblem(f"Client {cut_off.client}", cut_off.message, address)


def _unnamed(refusing: Sequence[CutOff]) -> list[PlacedProblem]:
    """What a user is told who may not see clients."""
    return [PlacedProblem("Clients", str(ClientsCutOff().args[0]), "")] if refusing else []


def _placed(app: App, problem: Problem) -> PlacedProblem:
    place = ".".join(part for part in (problem.table, problem.column, problem.attribute) if part)
    table = app.tables.filter(name=problem.table).order_by("position", "pk").first() if problem.table else None
    if table is None:
        address = f"{reverse('admin:changesource_app_change', args=[app.pk])}#id_{problem.attribute}"
        return PlacedProblem(place, problem.message, address)
    field = problem.attribute
    if problem.column:
        names = list(table.columns.order_by("table", "position", "pk").values_list("name", flat=True))
        field = f"columns-{names.index(problem.column)}-{field}"
    return PlacedProblem(
        place, problem.message, f"{reverse('admin:changesource_table_change', args=[table.pk])}#id_{field}"
    )
