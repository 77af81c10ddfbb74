"""The pages of an app on which its draft becomes a version: the difference, the history, and an old
version again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from changesource.admin.object_pages import ObjectPages
from changesource.errors import ChangeSourceError, ClientsCutOff, DraftChanged, PublishUnderWay, SourceUnusable
from changesource.models import App, Version
from changesource.models.roles import may_view, may_view_draft
from changesource.operations.publish_estimate import PublishEstimate, estimate_publish
from changesource.operations.publisher import publish_app
from changesource.publishing.definition_problems import Problem
from changesource.publishing.differences import Difference, compare_releases
from changesource.publishing.drafts import replace_draft_by_version
from changesource.publishing.grants import CutOff
from changesource.publishing.release import Release
from changesource.publishing.review import Review


@dataclass(frozen=True, slots=True)
class PlacedProblem:
    """Why a draft cannot be published, and the address of the input, or of the page, that has to
    change."""

    place: str
    message: str
    address: str


class PublishingPages(ObjectPages):
    """The pages show what tables and versions contain, so they require the permission to view these
    as well as the app. Publishing requires the permission to publish; putting an old version into
    the draft, that to change the app and its tables. Only users who may view clients and grants see
    what clients may read."""

    change_form_template = "admin/changesource/app/change_form.html"

    class Media:
        css = {"all": ["changesource/admin.css"]}

    def get_urls(self) -> list[URLPattern]:
        return [
            self.page_url("publish", "publish/", self.publish_view),
            self.page_url("versions", "versions/", self.versions_view),
            self.page_url("compare", "versions/compare/", self.compare_view),
            self.page_url("restore", "versions/<int:number>/draft/", self.restore_view),
            *super().get_urls(),
        ]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        app = context.get("original")
        context["review"] = Review(app) if app else None
        context["may_review"] = app is not None and self.has_review_permission(request, app)
        context["may_see_versions"] = app is not None and may_view(request.user, "version", app)
        return super().render_change_form(request, context, *args, **kwargs)

    def has_publish_permission(self, request: HttpRequest, app: App | None = None) -> bool:
        """Whether the user may publish `app`, or any app at all for None. Backends with object
        permissions count."""
        if request.user.has_perm("changesource.publish_app"):
            return True
        if app is None:
            return any(self.has_publish_permission(request, app) for app in App.objects.all())
        return request.user.has_perm("changesource.publish_app", app)

    def has_review_permission(self, request: HttpRequest, app: App) -> bool:
        """Whether the user may see how the draft of `app` differs from its versions."""
        return may_view_draft(request.user, app) and may_view(request.user, "version", app)

    def has_restore_permission(self, request: HttpRequest, app: App) -> bool:
        """Whether the user may replace the draft of `app`, with all its tables."""
        tables = [f"changesource.{action}_table" for action in ("add", "delete")]
        may_change = self.has_change_permission(request, app) and request.user.has_perms(tables)
        return may_change and self.has_review_permission(request, app)

    def publish_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The difference between the draft and what streams; by POST, publishes what was shown."""
        app = self.viewed_object(request, object_id)
        if not self.has_review_permission(request, app):
            raise PermissionDenied
        may_publish = self.has_publish_permission(request, app)
        if request.method == "POST":
            if not may_publish:
                raise PermissionDenied
            return self._publish(request, app)
        review = Review(app)
        context = {"title": f"Review and publish {app}", "reviewed": review.digest, "may_publish": may_publish}
        if problems := _problems(review, may_see=may_see_clients(request)):
            context["problems"] = problems
        else:
            clients = len({found.client_id for found in review.cut_off})
            context |= {"cut_off": review.cut_off} if may_see_clients(request) else {"cut_off_clients": clients}
            context |= {"difference": review.difference, **_source_context(review)}
        return self._review_page(request, "publish", review, context)

    def _publish(self, request: HttpRequest, app: App) -> HttpResponse:
        before = Version.objects.newest(app)
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
            text = f"{app} is already being published at this moment. Your draft was not published; look at it again."
            self.message_user(request, text, messages.WARNING)
            return again
        except ChangeSourceError as error:
            self.message_user(request, told_to(request, error), messages.ERROR)
            if isinstance(error, SourceUnusable):
                text = "If the source is read-only, publish without a marker: see the option beside the button."
                self.message_user(request, text, messages.INFO)
            return again
        if version == before:
            text = f"The draft of {app} is the same as version {version.number}; there is nothing to publish."
            self.message_user(request, text, messages.INFO)
        else:
            self.log_change(request, app, f"Published version {version.number}.")
            self.message_user(request, f"Published version {version.number} of {app}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:changesource_app_change", args=[app.pk]))

    def versions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """All versions of an app, the newest first."""
        app = self._app_with_versions(request, object_id)
        review = Review(app)
        versions = app.versions.select_related("published_by").defer("definition").order_by("-number")
        context = {
            "title": f"Versions of {app}",
            "versions": [(version, _state(version, review.newest)) for version in versions],
            "may_restore": self.has_restore_permission(request, app),
        }
        return self._review_page(request, "versions", review, context)

    def compare_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The difference between two versions, `?old=1&new=2`."""
        app = self._app_with_versions(request, object_id)
        old = self._version(app, request.GET.get("old", ""))
        new = self._version(app, request.GET.get("new", ""))
        context = {
            "title": f"{app}: from version {old.number} to version {new.number}",
            "old": old,
            "new": new,
            "difference": compare_releases(Release.of_version(old), Release.of_version(new)),
        }
        return self._review_page(request, "compare", Review(app), context)

    def restore_view(self, request: HttpRequest, object_id: str, number: int) -> HttpResponse:
        """What the draft loses if an old version replaces it; by POST, replaces it."""
        app = self.viewed_object(request, object_id)
        version = self._version(app, str(number))
        if not self.has_restore_permission(request, app):
            raise PermissionDenied
        review = Review(app)
        if request.method == "POST":
            return self._restore(request, review, version)
        draft = review.draft
        context = {
            "title": f"Put version {number} of {app} into the draft",
            "version": version,
            "reviewed": review.digest,
            "is_lost": review.differs,
            "difference": None if draft.problems else compare_releases(draft, Release.of_version(version)),
        }
        return self._review_page(request, "restore", review, context)

    def _restore(self, request: HttpRequest, review: Review, version: Version) -> HttpResponse:
        app = review.app
        if request.POST.get("reviewed") != review.digest:
            text = (
                f"The draft of {app} changed while you looked at it. Nothing was done; this is what it would lose now."
            )
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(_address("restore", app, version.number))
        try:
            replace_draft_by_version(version)
        except ChangeSourceError as error:
            self.message_user(request, told_to(request, error), messages.ERROR)
            return HttpResponseRedirect(_address("versions", app))
        self.log_change(request, app, f"Put version {version.number} into the draft.")
        text = f"The draft of {app} is now the same as version {version.number}. Publish it here."
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(_address("publish", app))

    def _app_with_versions(self, request: HttpRequest, object_id: str) -> App:
        app = self.viewed_object(request, object_id)
        if not may_view(request.user, "version", app):
            raise PermissionDenied
        return cast(App, app)

    def _version(self, app: App, number: str) -> Version:
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        version = app.versions.filter(number=int(number)).first() if is_number else None
        if version is None:
            raise Http404(f"{app} has no version {number!r}.")
        return version

    def _review_page(
        self, request: HttpRequest, name: str, review: Review, context: dict[str, Any]
    ) -> TemplateResponse:
        may_review = self.has_review_permission(request, review.app)
        return self.page(request, name, {"app": review.app, "review": review, "may_review": may_review, **context})


def _address(page: str, app: App, *arguments: Any) -> str:
    return reverse(f"admin:changesource_app_{page}", args=[app.pk, *arguments])


def may_see_clients(request: HttpRequest) -> bool:
    """Whether the user may see which clients there are, and what each may read."""
    return all(may_view(request.user, model) for model in ("client", "grant"))


def told_to(request: HttpRequest, error: ChangeSourceError) -> SafeString:
    """`error` as the user may read it, line by line."""
    if isinstance(error, ClientsCutOff) and not may_see_clients(request):
        error = ClientsCutOff()
    return format_html_join(SafeString("<br>"), "{}", ((line,) for line in str(error).splitlines()))


def _what_happened(app: App) -> str:
    """Why what was shown was not published."""
    newest = Version.objects.newest(app)
    text = f"Nothing of {app} was published, because the draft, or what streams, is not what you were shown."
    if newest is not None:
        author = f" by {newest.published_by}" if newest.published_by else ""
        text += f" Version {newest.number}, published{author}, streams."
    return f"{text} This is the difference now."


def _state(version: Version, newest: Version | None) -> str:
    if version.cluster_time is None:
        return "being published"
    return "streams" if version == newest else "earlier"


def _problems(review: Review, *, may_see: bool) -> list[PlacedProblem]:
    """What the Django database alone says against publishing. `may_see`: the user may see
    clients."""
    if review.draft.problems:
        return [_placed(review.app, problem) for problem in review.draft.problems]
    refusing = [found for found in review.cut_off if found.refuses]
    return [*map(_placed_at_client, refusing)] if may_see else _unnamed(refusing)


def _source_context(review: Review) -> dict[str, Any]:
    """What the source says about a publish: an `estimate`, or why there is none; and what prevents
    the publish."""
    try:
        review.refuse_unpublishable()
    except ChangeSourceError as error:
        return {"refusal": str(error)}
    try:
        estimate = estimate_publish(review.draft, review.difference.loaded_collections)
    except ChangeSourceError as error:
        return {"estimate_failure": str(error)}
    if refused := estimate.collections.refused:
        return {"problems": [_placed(review.app, problem) for problem in refused]}
    return {
        "collection_warnings": [_placed(review.app, problem) for problem in estimate.collections.warnings],
        "estimate": estimate,
        "loaded": _loaded(review.difference, estimate),
    }


def _loaded(difference: Difference, estimate: PublishEstimate) -> list[tuple[str, str, int]]:
    """Table, collection and number of documents, for each table whose rows are read."""
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
