"""Clients and their tokens, which are shown once."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from changesource.models import Client


@admin.register(Client)
class ClientAdmin(admin.ModelAdmin):
    list_display = ["name", "app_ids", "is_active", "last_seen_at", "created_at"]
    list_filter = ["is_active", "apps", "last_seen_at"]
    search_fields = ["name", "apps__app_id"]
    autocomplete_fields = ["apps"]
    readonly_fields = ["created_at", "last_seen_at"]
    actions = ["issue_token"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Client]:
        return super().get_queryset(request).prefetch_related("apps")

    @admin.display(description="apps")
    def app_ids(self, client: Client) -> str:
        return ", ".join(app.app_id for app in client.apps.all())

    def save_model(self, request: HttpRequest, obj: Client, form: ModelForm, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        token = obj.renew_token()
        super().save_model(request, obj, form, change)
        self._show_once(request, obj, token)

    @admin.action(description="Issue a new token (the old one opens no stream any more)", permissions=["change"])
    def issue_token(self, request: HttpRequest, clients: QuerySet[Client]) -> None:
        for client in clients:
            token = client.renew_token()
            client.save(update_fields=["token_digest"])
            self.log_change(request, client, "Issued a new token.")
            self._show_once(request, client, token)

    def _show_once(self, request: HttpRequest, client: Client, token: str) -> None:
        text = f"The token of {client}, which cannot be shown again: {token}"
        self.message_user(request, text, messages.WARNING)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields if obj else []

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["name", "apps", "is_active", *self.get_readonly_fields(request, obj)]
