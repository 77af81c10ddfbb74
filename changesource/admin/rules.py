"""The page that tries out rules: given claims, it shows the rows that the caller may see, and why
not the others."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from changesource.admin.json_editor import JsonEditor
from changesource.admin.object_pages import ObjectPages
from changesource.errors import ChangeSourceError, InvalidClaims
from changesource.models.draft import table_definition
from changesource.operations.rule_trial import claims_of_token, read_claims, try_rules
from changesource.publishing.review import Review
from changesource.rules.syntax import ACTIONS
from changesource.trials.rules import RELATED_DOCUMENTS

TRIED_DOCUMENTS = 20
MAX_CLAIMS_LENGTH = 8_192
"""The same as for a token that opens a stream."""


class ClaimsForm(forms.Form):
    """`cleaned_data["claims"]` are the claims of the token, if there is one. Nothing of the form is
    stored."""

    action = forms.ChoiceField(choices=[(action, action) for action in ACTIONS])
    claims = forms.CharField(
        required=False,
        max_length=MAX_CLAIMS_LENGTH,
        initial='{\n  "sub": ""\n}',
        widget=JsonEditor(rows=6),
        help_text="What a token says about the caller, as JSON. Rules refer to a claim as $auth.<claim>.",
    )
    token = forms.CharField(
        required=False,
        max_length=MAX_CLAIMS_LENGTH,
        label="JWT",
        widget=forms.PasswordInput(attrs={"class": "vLargeTextField", "autocomplete": "off"}),
        help_text="Used instead of the claims. It is decoded but not verified: anyone could have written it. It is not "
        "stored, not logged, and not sent back.",
    )

    def clean(self) -> dict[str, Any]:
        token = self.cleaned_data.get("token")
        field = "token" if token else "claims"
        try:
            claims = claims_of_token(token) if token else read_claims(self.cleaned_data.get("claims") or "{}")
        except InvalidClaims as error:
            raise ValidationError({field: str(error.args[0])}) from None
        return {**self.cleaned_data, "claims": claims}


class RulePages(ObjectPages):
    """Viewing a table is enough to try out its rules."""

    def get_urls(self) -> list[URLPattern]:
        return [self.page_url("rules", "rules/", self.rules_view), *super().get_urls()]

    def rules_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Claims come by POST, so that they are in no address and in no server's log."""
        table = self.viewed_object(request, object_id)
        form = ClaimsForm(request.POST or None)
        context = {
            "title": f"Try the rules of {table}",
            "table": table,
            "definition": table_definition(table, table.columns.all()),
            "review": Review(table.app),
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
        response = self.page(request, "rules", context)
        response["Cache-Control"] = "no-store"
        return response
