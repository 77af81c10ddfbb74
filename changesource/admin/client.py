"""Clients: which may connect, what each may read, and which replicas it has."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from changesource.admin.client_history import ClientHistoryPages
from changesource.admin.credential import CredentialInline, CredentialPages
from changesource.admin.grant import GrantInline
from changesource.admin.json_editor import JsonObjectField
from changesource.models import AwaitedReplica, Client, Grant
from changesource.publishing.grants import CONFIRM_ACTION

MAX_REPLICAS = 10
"""The most replicas that the page of a client lists; a link leads to all of them."""


class ClientForm(forms.ModelForm):
    attributes = JsonObjectField(rows=4, help_text=Client._meta.get_field("attributes").help_text)

    class Meta:
        model = Client
        fields = ["name", "attributes", "is_active", "accepts_jwt", "expires_at"]


@admin.register(Client)
class ClientAdmin(ClientHistoryPages, CredentialPages):
    form = ClientForm
    list_display = ["name", "app_ids", "is_active", "expires_at", "last_seen_at"]
    list_filter = ["is_active", "apps", "last_seen_at"]
    search_fields = ["name", "apps__app_id"]
    actions = ["confirm_grants"]
    change_form_template = "admin/changesource/client/change_form.html"
    change_list_template = "admin/changesource/client/change_list.html"

    class Media:
        css = {"all": ["changesource/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Client]:
        return super().get_queryset(request).prefetch_related("apps")

    def get_fields(self, request: HttpRequest, obj: Client | None = None) -> Any:
        stored = ["created_at", "last_seen_at", "replicas"] if obj else []
        return ["name", "attributes", "is_active", "accepts_jwt", "expires_at", *stored]

    def get_readonly_fields(self, request: HttpRequest, obj: Client | None = None) -> Any:
        return ["created_at", "last_seen_at", "replicas"]

    def get_inlines(self, request: HttpRequest, obj: Client | None) -> Any:
        return [GrantInline, CredentialInline] if obj else [GrantInline]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        context["may_issue"] = self.has_issue_permission(request)
        context["may_revoke"] = self.has_revoke_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def response_add(self, request: HttpRequest, obj: Client, post_url_continue: Any = None) -> HttpResponse:
        """A new client needs a token next."""
        response = super().response_add(request, obj, post_url_continue)
        if "_save" in request.POST and self.has_issue_permission(request):
            return HttpResponseRedirect(reverse("admin:changesource_client_issue", args=[obj.pk]))
        return response

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A user who may delete a client may delete with it what no user may delete alone."""
        deleted, counts, refused, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, refused - {AwaitedReplica._meta.verbose_name}, protected

    def has_confirm_permission(self, request: HttpRequest) -> bool:
        """Whether the user may confirm that grants mean the tables that are published now."""
        return request.user.has_perm("changesource.change_grant")

    @admin.action(description=CONFIRM_ACTION, permissions=["confirm"])
    def confirm_grants(self, request: HttpRequest, clients: QuerySet[Client]) -> None:
        """A table that has come to read another collection since it was granted is not shown until
        this is done."""
        grants = list(Grant.objects.filter(client__in=clients).select_related("app", "client"))
        for grant in grants:
            grant.confirm()
        count = len(grants)
        text = f"Confirmed {count} grant{pluralize(count)}, for the tables as they are published now."
        self.message_user(request, text, messages.SUCCESS)

    @admin.display(description="apps")
    def app_ids(self, client: Client) -> str:
        return ", ".join(app.app_id for app in client.apps.all())

    @admin.display(description="replicas")
    def replicas(self, client: Client) -> SafeString:
        """The replicas that it has built, the most recently seen first."""
        newest = list(client.replicas.select_related("app").order_by("-last_seen_at")[: MAX_REPLICAS + 1])
        if not newest:
            return SafeString("None yet.")
        lines = [
            format_html(
                '<a href="{}">{} shard {}, {}</a>: version {}, access version {}, last seen {}',
                reverse("admin:changesource_replica_change", args=[replica.pk]),
                replica.app,
                replica.shard_num,
                replica.replica_version,
                replica.version_number,
                replica.access_number,
                localize(replica.last_seen_at),
            )
            for replica in newest[:MAX_REPLICAS]
        ]
        if len(newest) > MAX_REPLICAS:
            address = f"{reverse('admin:changesource_replica_changelist')}?client__id__exact={client.pk}"
            lines.append(format_html('<a href="{}">All replicas</a>', address))
        return format_html_join(SafeString("<br>"), "{}", ((line,) for line in lines))
