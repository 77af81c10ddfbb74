"""Credentials on the page of a client, and the pages that issue and revoke them. A token is shown
once.

A new token is in the response to the POST that issued it and nowhere else: a redirect would need a
place to keep it until the next page, and Django keeps messages in a cookie or in the database.
"""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from changesource.admin.object_pages import ObjectPages
from changesource.models import Client, Credential


class IssueForm(forms.ModelForm):
    """`after` is the newest credential that the page has shown: a form that is sent twice issues
    one token, not two of which the user never sees the first."""

    expires_at = forms.SplitDateTimeField(
        required=False, label="Expires", widget=AdminSplitDateTime(), help_text="Leave it empty for never."
    )
    after = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Credential
        fields = ["label", "expires_at"]

    def clean_expires_at(self) -> Any:
        expires_at = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= timezone.now():
            raise ValidationError("This time has passed. Choose a later one, or none.")
        return expires_at


class CredentialInline(admin.TabularInline):
    model = Credential
    readonly_fields = ["created_at", "last_used_at", "revoked_at", "revoke"]
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = ["label", "created_at", "expires_at", "last_used_at", "revoked_at"]
        return [*fields, "revoke"] if self.has_change_permission(request, obj) else fields

    @admin.display(description="")
    def revoke(self, credential: Credential) -> SafeString:
        if credential.pk is None or credential.revoked_at is not None:
            return SafeString("")  # a credential without a key comes from a forged form
        address = _address("revoke", credential.client_id, credential.pk)
        return format_html('<a href="{}" aria-label="Revoke {}">Revoke</a>', address, credential.label or credential.pk)


class CredentialPages(ObjectPages):
    """Issuing requires the permission to add credentials, revoking the permission to change them;
    both require the permission to view clients."""

    def get_urls(self) -> list[URLPattern]:
        return [
            self.page_url("issue", "credentials/issue/", self.issue_view),
            self.page_url("revoke", "credentials/<int:credential_id>/revoke/", self.revoke_view),
            self.page_url("revoke_others", "credentials/revoke-others/", self.revoke_others_view),
            *super().get_urls(),
        ]

    def has_issue_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("changesource.add_credential")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("changesource.change_credential")

    def issue_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A form for the label and the expiry; by POST, the new token."""
        client = self._client(request, object_id, self.has_issue_permission)
        form = IssueForm(request.POST or None, initial={"after": _newest(client)})
        if request.method == "POST" and form.is_valid():
            return self._issue(request, client, form)
        context = {"title": f"Issue a token for {client}", "form": form, "media": self.media + form.media}
        return self._secret_page(request, "issue", client, context)

    def _issue(self, request: HttpRequest, client: Client, form: IssueForm) -> HttpResponse:
        with transaction.atomic():
            Client.objects.select_for_update(no_key=True).get(pk=client.pk)
            if form.cleaned_data["after"] != _newest(client):
                text = (
                    f"Nothing was issued: {client} has got another credential since you opened the page. If you issued it "
                    "and its token is lost, revoke it and issue another one."
                )
                self.message_user(request, text, messages.WARNING)
                return self._back(client)
            credential, token = Credential.objects.issue(
                client, form.cleaned_data["label"], form.cleaned_data["expires_at"]
            )
        self.log_change(request, client, f"Issued {_name(credential)}.")
        context = {"title": f"The new token of {client}", "credential": credential, "token": token}
        return self._secret_page(request, "token", client, context)

    def revoke_view(self, request: HttpRequest, object_id: str, credential_id: int) -> HttpResponse:
        """What it means to revoke one credential; by POST, revokes it."""
        client = self._client(request, object_id, self.has_revoke_permission)
        credential = client.credentials.filter(pk=min(credential_id, 2**63 - 1)).first()
        if credential is None:
            raise Http404(f"{client} has no such credential.")
        if credential.revoked_at is not None:
            self.message_user(request, f"{credential} has already been revoked.", messages.INFO)
            return self._back(client)
        if request.method == "POST":
            credential.revoke()
            self._report_revoked(request, client, [credential])
            return self._back(client)
        context = {"title": f"Revoke a credential of {client}", "revoked": [credential]}
        return self._secret_page(request, "revoke", client, context)

    def revoke_others_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The valid credentials besides the newest; by POST, revokes them."""
        client = self._client(request, object_id, self.has_revoke_permission)
        if request.method == "POST":
            self._report_revoked(request, client, Credential.objects.revoke_all_but_newest(client))
            return self._back(client)
        valid = list(Credential.objects.valid().filter(client=client))
        if len(valid) < 2:
            self.message_user(request, f"{client} has no valid credential besides its newest.", messages.INFO)
            return self._back(client)
        context = {"title": f"Revoke all but the newest credential of {client}", "revoked": valid[1:], "kept": valid[0]}
        return self._secret_page(request, "revoke", client, context)

    def _report_revoked(self, request: HttpRequest, client: Client, revoked: list[Credential]) -> None:
        if not revoked:
            self.message_user(request, "There was nothing to revoke.", messages.INFO)
            return
        names = ", ".join(map(_name, revoked))
        self.log_change(request, client, f"Revoked {names}.")
        text = f"Revoked {names}. Streams that it opened end within seconds."
        self.message_user(request, text, messages.SUCCESS)

    def _client(self, request: HttpRequest, object_id: str, may: Callable[[HttpRequest], bool]) -> Client:
        if not may(request):
            raise PermissionDenied
        return cast(Client, self.viewed_object(request, object_id))

    def _back(self, client: Client) -> HttpResponseRedirect:
        return HttpResponseRedirect(reverse("admin:changesource_client_change", args=[client.pk]))

    def _secret_page(
        self, request: HttpRequest, name: str, client: Client, context: dict[str, Any]
    ) -> TemplateResponse:
        response = self.page(request, name, {"client": client, **context})
        response["Cache-Control"] = "no-store"
        return response


def _newest(client: Client) -> int | None:
    return client.credentials.order_by("-pk").values_list("pk", flat=True).first()


def _name(credential: Credential) -> str:
    return f"credential {credential.label or credential.pk}"


def _address(page: str, *arguments: Any) -> str:
    return reverse(f"admin:changesource_client_{page}", args=arguments)
