"""Trying a rule: claims in, rows that the caller sees and why not the others out."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from changesource.admin.draft_state import draft_state
from changesource.admin.json_editor import JsonEditor
from changesource.errors import ChangeSourceError, InvalidClaims
from changesource.models.draft import table_definition
from changesource.operations.rule_trial import claims_of_token, read_claims, try_rules
from changesource.rules.syntax import ACTIONS
from changesource.trials.rules import RELATED_DOCUMENTS

TRIED_DOCUMENTS = 20
MAX_CLAIMS_LENGTH = 8_192
"""As of a token that opens a stream."""


class ClaimsForm(forms.Form):
    """`cleaned_data["claims"]` are those of the token if there is one. Nothing of it is kept."""

    action = forms.ChoiceField(choices=[(action, action) for action in ACTIONS])
    claims = forms.CharField(
        required=False,
        max_length=MAX_CLAIMS_LENGTH,
        initial='{\n  "sub": ""\n}',
        widget=JsonEditor(rows=6),
        help_text="What a token says of the caller, as JSON. Rules call it $auth.<claim>.",
    )
    token = forms.CharField(
        required=False,
        max_length=MAX_CLAIMS_LENGTH,
        label="JWT",
        widget=forms.PasswordInput(attrs={"class": "vLargeTextField", "autocomplete": "off"}),
        help_text="Instead of claims. It is decoded, not verified: anybody could have written it. It is neither stored nor "
        "logged, and not sent back.",
    )

    def clean(self) -> dict[str, Any]:
        token = self.cleaned_data.get("token")
        field = "token" if token else "claims"
        try:
            claims = claims_of_token(token) if token else read_claims(self.cleaned_data.get("claims") or "{}")
        except InvalidClaims as error:
            raise ValidationError({field: str(error.args[0])}) from None
        return {**self.cleaned_data, "claims": claims}


class RulePages(admin.ModelAdmin):
    """Viewing a table is enough to try its rules."""

    def get_urls(self) -> list[URLPattern]:
        rules = path(
            "<path:object_id>/rules/", self.admin_site.admin_view(self.rules_view), name="changesource_table_rules"
        )
        return [rules, *super().get_urls()]

    def rules_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Claims come by POST, so that they are in no address and in no log of a server."""
        table = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, table):
            raise PermissionDenied
        if table is None:
            raise Http404(f"There is no table {object_id!r}.")
        form = ClaimsForm(request.POST or None)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Try the rules of {table}",
            "opts": self.opts,
            "table": table,
            "definition": table_definition(table, table.columns.all()),
            "draft_state": draft_state(table.app),
            "limit": TRIED_DOCUMENTS,
            "related_limit": RELATED_DOCUMENTS,
            "form": form,
        }
        if request.method == "POST" and form.is_valid():
            action, claims = form.cleaned_data["action"], form.cleaned_data["claims"]
            shown = ClaimsForm(initial={"action": action, "claims": json.dumps(claims, ensure_ascii=False, indent=2)})
            context |= {"form": shown, "action": action, "is_decoded": bool(form.cleaned_data["token"])}
            try:
                answer = try_rules(table.app, table.name, action, claims, TRIED_DOCUMENTS)
                context |= {"rows": answer.items, "is_cut": answer.is_cut}
                context["passing"] = sum(row["passes"] for row in answer.items)
            except ChangeSourceError as error:
                context["failure"] = str(error).splitlines()
        response = TemplateResponse(request, "admin/changesource/table/rules.html", context)
        response["Cache-Control"] = "no-store"
        return response
