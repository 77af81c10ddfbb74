"""The page that tries out named queries: what zero-cache would get for a caller, the rows that this
finds, and which rules hide the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from changesource.admin.json_editor import JsonEditor
from changesource.admin.object_pages import ObjectPages
from changesource.admin.rules import ClaimsForm
from changesource.errors import ChangeSourceError, InvalidClaims
from changesource.models import App
from changesource.models.roles import may_view, may_view_draft
from changesource.operations.query_trial import ask_query, caller_with, query_choices, read_argument, try_query
from changesource.publishing.exported import DRAFT
from changesource.publishing.release import Release
from changesource.publishing.review import Review
from changesource.queries.registry import MAX_NAME_LENGTH
from changesource.trials.preview import cut_text
from changesource.trials.queries import SAMPLED_DOCUMENTS

MAX_ARGUMENTS_LENGTH = 20_000
MAX_JSON_TEXT = 50_000
"""How many characters of an AST, or of the details of an error, a page shows."""


class QueryForm(ClaimsForm):
    """`cleaned_data` has the `release`, the JSON value `argument` and the `caller`. Nothing of the form is stored."""

    action = None  # type: ignore[assignment]  # none of the base class
    state = forms.ChoiceField(label="Draft or version")
    query = forms.CharField(
        max_length=MAX_NAME_LENGTH,
        widget=forms.TextInput(attrs={"class": "vTextField", "list": "queries", "spellcheck": "false"}),
        help_text="The name of a query of the app, or of a function in a queries.py for it.",
    )
    arguments = forms.CharField(
        required=False,
        max_length=MAX_ARGUMENTS_LENGTH,
        widget=JsonEditor(rows=4),
        help_text="What the client gives the query, as JSON. Leave it empty for a query without arguments.",
    )
    documents = forms.IntegerField(
        min_value=1,
        max_value=SAMPLED_DOCUMENTS,
        initial=SAMPLED_DOCUMENTS,
        help_text=f"How many documents of each collection are read: the first ones by _id, at most {SAMPLED_DOCUMENTS:,}.",
    )

    field_order = ("state", "query", "arguments", "claims", "token", "documents")

    def __init__(
        self, releases: Mapping[str, Release], data: Any = None, initial: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, initial={"claims": "", **(initial or {})})
        self._releases = releases
        state: Any = self.fields["state"]
        state.choices = [(name, f"version {name}" if name != DRAFT else "the draft") for name in releases]
        self.fields["claims"].help_text = (
            "What is known of the caller, as a JSON object; sub is the id of the user. Leave it empty for a visitor who has "
            "not logged in. Rules refer to a claim as $auth.<claim>."
        )

    def clean_arguments(self) -> Any:
        try:
            self.cleaned_data["argument"] = read_argument(self.cleaned_data["arguments"])
        except ValueError as error:
            raise ValidationError(str(error)) from None
        return self.cleaned_data["arguments"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        try:
            caller = caller_with(cleaned["claims"])
        except InvalidClaims as error:
            field = "token" if cleaned.get("token") else "claims"
            raise ValidationError({field: str(error.args[0])}) from None
        return {**cleaned, "caller": caller, "release": self._releases.get(cleaned.get("state", ""))}


class QueryPages(ObjectPages):
    """The page shows documents, so it requires the permission to view tables and columns as well as the app, and to view
    versions for the version that streams."""

    def get_urls(self) -> list[URLPattern]:
        return [self.page_url("queries", "queries/", self.queries_view), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context["may_try_queries"] = context.get("original") is not None and may_try_queries(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def queries_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Claims and arguments come by POST, so that they are in no address and in no server's log."""
        app = self.viewed_object(request, object_id)
        if not may_try_queries(request):
            raise PermissionDenied
        review = Review(app)
        releases = _releases(request, app, review)
        form = QueryForm(releases, request.POST or None, _initial(request))
        context = {
            "title": f"Try the queries of {app}",
            "app": app,
            "review": review,
            "may_review": may_view(request.user, "version", app),
            "form": form,
            "choices": _choices(releases.values()),
        }
        if request.method == "POST" and form.is_valid():
            asked = form.cleaned_data
            claims = json.dumps(asked["claims"], ensure_ascii=False, indent=2) if asked["claims"] else ""
            # Without the token, which is not sent back.
            context["form"] = QueryForm(releases, initial={**asked, "claims": claims, "token": ""})
            context |= {"is_decoded": bool(asked["token"]), "asked": asked, **_tried(app, asked)}
        response = self.page(request, "queries", context)
        response["Cache-Control"] = "no-store"
        return response


def may_try_queries(request: HttpRequest) -> bool:
    """Whether the user may see the documents behind the tables of drafts."""
    return may_view_draft(request.user, None)


def _releases(request: HttpRequest, app: App, review: Review) -> dict[str, Release]:
    """The draft, and the version that streams if the user may see it."""
    releases = {DRAFT: review.draft}
    if review.published is not None and may_view(request.user, "version", app):
        releases[str(review.published.number)] = review.published
    return releases


def _initial(request: HttpRequest) -> dict[str, Any]:
    return {name: request.GET[name] for name in ("state", "query") if name in request.GET}


def _choices(releases: Iterable[Release]) -> list[tuple[str, str]]:
    """Name and arguments of each query of the releases; those of the first release count."""
    choices: dict[str, str] = {}
    for release in releases:
        for name, arguments in query_choices(release.definition):
            choices.setdefault(name, arguments)
    return list(choices.items())


def _tried(app: App, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows of the answer, as its context."""
    context: dict[str, Any] = {}
    release: Release = asked["release"]
    try:
        if asked["state"] == DRAFT:
            release.refuse_problems(f"{app} cannot be published.")
        answer = ask_query(release.definition, asked["query"], asked["argument"], asked["caller"])
        if answer.error is not None:
            details = answer.error.get("details")
            context["error"] = _encodable(answer.error["message"])
            return context | ({} if details is None else {"details": _shown_json(details)})
        context["ast"] = _shown_json(answer.ast)
        trial = try_query(answer, asked["documents"])
        context |= {"is_cut": trial.is_cut, **_grouped(trial.items)}
    except ChangeSourceError as error:
        context["failure"] = _encodable(str(error)).splitlines()
    return context


def _grouped(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The items of a trial: `samples`, and `places` with their rows."""
    samples: list[Any] = []
    places: list[dict[str, Any]] = []
    for item in items:
        match item:
            case {"sample": sample}:
                samples.append(sample)
            case {"place": place}:
                places.append({**place, "rows": []})
            case {"row": row}:
                places[-1]["rows"].append(row)
    for place in places:
        shown = len(place["rows"])
        place["more"] = place["found"] + place["hidden"] + place["added"] - shown
    return {"samples": samples, "places": places}


def _shown_json(value: Any) -> str:
    try:
        return cut_text(_encodable(json.dumps(value, ensure_ascii=False, indent=2)), MAX_JSON_TEXT)
    except RecursionError:
        return "It is nested too deeply to be shown."


def _encodable(text: str) -> str:
    """`text` without halves of surrogate pairs, which no page can hold. A function may have put them into a message."""
    return text.encode(errors="backslashreplace").decode()
