"""Clients: who may connect, what each may read, and what it has."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from changesource.admin.client_history import ClientHistoryPages
from changesource.admin.credential import CredentialInline, CredentialPages
from changesource.admin.grant import GrantInline
from changesource.admin.json_editor import IndentedJSONEncoder, JsonEditor
from changesource.models import AwaitedReplica, Client, Grant
from changesource.models.app import validate_json_object
from changesource.mql import StrictJSONDecoder
from changesource.publishing.grants import CONFIRM_ACTION

MAX_REPLICAS = 10
"""Listed on the page of a client; there is a link to all."""


class ClientForm(forms.ModelForm):
    attributes = forms.JSONField(
        required=False,
        initial=dict,
        encoder=IndentedJSONEncoder,
        decoder=StrictJSONDecoder,
        widget=JsonEditor(rows=4),
        help_text=Client._meta.get_field("attributes").help_text,
    )

    class Meta:
        model = Client
        fields = ["name", "attributes", "is_active", "accepts_jwt", "expires_at"]

    def clean_attributes(self) -> Any:
        attributes = self.cleaned_data["attributes"]
        if attributes is None:
            return {}
        validate_json_object(attributes)  # the model's validators do not see values that are empty
        return attributes


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
        """Who may delete a client may delete with it what nobody may delete alone."""
        deleted, counts, refused, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, refused - {AwaitedReplica._meta.verbose_name}, protected

    def has_confirm_permission(self, request: HttpRequest) -> bool:
        """Whether the user may say that grants mean what is published now."""
        return request.user.has_perm("changesource.change_grant")

    @admin.action(description=CONFIRM_ACTION, permissions=["confirm"])
    def confirm_grants(self, request: HttpRequest, clients: QuerySet[Client]) -> None:
        """Their tables may read other collections since they were granted, and are not shown until this."""
        grants = list(Grant.objects.filter(client__in=clients).select_related("app", "client"))
        for grant in grants:
            grant.confirm()
        self.message_user(request, f"{len(grants)} grants mean the tables that are published now.", messages.SUCCESS)

    @admin.display(description="apps")
    def app_ids(self, client: Client) -> str:
        return ", ".join(app.app_id for app in client.apps.all())

    @admin.display(description="replicas")
    def replicas(self, client: Client) -> SafeString:
        """Those that it has built, the last seen first."""
        newest = list(client.replicas.select_related("app").order_by("-last_seen_at")[: MAX_REPLICAS + 1])
        if not newest:
            return SafeString("None yet.")
        lines = [
            format_html(
                '<a href="{}">{} shard {}, {}</a>: version {}, access {}, last seen {}',
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
