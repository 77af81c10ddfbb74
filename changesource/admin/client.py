"""Clients and their tokens, which are shown once."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from changesource.models import Client, Credential, Grant


class GrantInline(admin.StackedInline):
    model = Grant
    extra = 0


class CredentialInline(admin.TabularInline):
    model = Credential
    fields = ["label", "created_at", "expires_at", "revoked_at", "last_used_at"]
    readonly_fields = ["created_at", "revoked_at", "last_used_at"]
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Client)
class ClientAdmin(admin.ModelAdmin):
    list_display = ["name", "app_ids", "is_active", "last_seen_at", "created_at"]
    list_filter = ["is_active", "apps", "last_seen_at"]
    search_fields = ["name", "apps__app_id"]
    readonly_fields = ["created_at", "last_seen_at"]
    inlines = [GrantInline, CredentialInline]
    actions = ["issue_token"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Client]:
        return super().get_queryset(request).prefetch_related("apps")

    @admin.display(description="apps")
    def app_ids(self, client: Client) -> str:
        return ", ".join(app.app_id for app in client.apps.all())

    @admin.action(description="Issue a new token", permissions=["change"])
    def issue_token(self, request: HttpRequest, clients: QuerySet[Client]) -> None:
        for client in clients:
            _, token = Credential.objects.issue(client)
            self.log_change(request, client, "Issued a new token.")
            text = f"The token of {client}, which cannot be shown again: {token}"
            self.message_user(request, text, messages.WARNING)
