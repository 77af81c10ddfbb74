"""Apps: their drafts at a glance, and publishing."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from changesource.admin.export_links import links_of_app
from changesource.admin.json_editor import JsonObjectField
from changesource.admin.publishing import PublishingPages, may_see_clients, told_to
from changesource.admin.queries import QueryPages
from changesource.admin.source_check import SourceCheckPage
from changesource.conf import DEFAULT_SOURCE, load_settings
from changesource.errors import ChangeSourceError
from changesource.models import App, AwaitedReplica, Replica, RowErrorRecord, RunningSnapshot, Table, Version
from changesource.models.draft import draft_definition, table_definition
from changesource.models.roles import may_view, may_view_draft
from changesource.operations.publisher import publish_app
from changesource.publishing.definition_problems import find_publication_problems
from changesource.publishing.review import Review
from changesource.queries.written import find_query_problems
from changesource.tables.definition import AppDefinition


class AppForm(forms.ModelForm):
    """`source` is one of the configured sources; the one that an app already has remains
    possible."""

    source = forms.ChoiceField(help_text="The MongoDB database. Its URI is in the environment and is never shown here.")
    relationships = JsonObjectField(rows=10, help_text=App._meta.get_field("relationships").help_text)
    publications = JsonObjectField(
        rows=6,
        help_text=f"{App._meta.get_field('publications').help_text} A zero-cache that asks for none gets every table that "
        "it may read.",
    )

    queries = JsonObjectField(rows=12, help_text=App._meta.get_field("queries").help_text)

    class Meta:
        model = App
        fields = ["app_id", "source", "relationships", "publications", "queries"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        configured = load_settings().sources
        names = sorted({*configured, self.instance.source or DEFAULT_SOURCE})
        source = self.fields["source"]
        if isinstance(source, forms.ChoiceField):  # a user who may only view has no such field
            source.choices = [(name, name if name in configured else f"{name} (not configured)") for name in names]

    def clean_publications(self) -> Any:
        publications = self.cleaned_data["publications"]
        tables = set(self.instance.tables.values_list("name", flat=True)) if self.instance.pk else set()
        if problems := list(find_publication_problems(publications, tables)):
            raise ValidationError(problems)
        return publications

    def clean_queries(self) -> Any:
        queries = self.cleaned_data["queries"]
        draft = draft_definition(self.instance) if self.instance.pk else AppDefinition("", "", ())
        relationships = self.cleaned_data.get("relationships", {})
        if problems := list(find_query_problems(replace(draft, relationships=relationships, queries=queries))):
            raise ValidationError([str(problem) for problem in problems])
        return queries


class TableInline(admin.TabularInline):
    """The tables of the draft in order, each with a link to its own page."""

    model = Table
    fields = ["name", "collection_read", "column_names", "position"]
    readonly_fields = ["name", "collection_read", "column_names"]
    show_change_link = True
    can_delete = False
    extra = 0

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Table]:
        return super().get_queryset(request).prefetch_related("columns")

    @admin.display(description="collection")
    def collection_read(self, table: Table) -> str:
        return table_definition(table, ()).collection

    @admin.display(description="columns")
    def column_names(self, table: Table) -> str:
        return ", ".join(column.name for column in table.columns.all())


@admin.register(App)
class AppAdmin(PublishingPages, QueryPages, SourceCheckPage):
    form = AppForm
    inlines = [TableInline]
    list_display = ["app_id", "source", "table_count", "state", "updated_at"]
    list_filter = ["source", "updated_at"]
    search_fields = ["app_id"]
    actions = ["publish_drafts"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(table_count=Count("tables"))

    @admin.display(description="tables", ordering="table_count")
    def table_count(self, app: Any) -> Any:
        return app.table_count

    @admin.display(description="state")
    def state(self, app: App) -> str:
        return Review(app).description

    @admin.display(description="see")
    def links(self, app: App) -> SafeString:
        """Where to find what is known about this app besides its draft."""
        places = [
            ("Add a table", f"{reverse('admin:changesource_table_add')}?app={app.pk}"),
            ("Check the source", reverse("admin:changesource_app_check_source", args=[app.pk])),
        ] + [
            (str(model._meta.verbose_name_plural).capitalize(), f"{_changelist(model)}?app__id__exact={app.pk}")
            for model in (Version, Replica, RowErrorRecord)
        ]
        return format_html_join(" · ", '<a href="{}">{}</a>', ((url, text) for text, url in places))

    @admin.display(description="export")
    def exports(self, app: App) -> SafeString:
        return links_of_app(app, with_draft=True)

    @admin.display(description="export")
    def published_exports(self, app: App) -> SafeString:
        """For a user who may not see the draft."""
        return links_of_app(app, with_draft=False)

    def get_fields(self, request: HttpRequest, obj: App | None = None) -> Any:
        return ["app_id", "source", "relationships", "publications", "queries"] + (
            ["state", "links", *self._export_fields(request, obj)] if obj else []
        )

    def get_readonly_fields(self, request: HttpRequest, obj: App | None = None) -> Any:
        if obj is None:
            return []
        return ["state", "links", *self._export_fields(request, obj)] + (
            ["app_id"] if Version.objects.newest(obj) else []
        )

    def _export_fields(self, request: HttpRequest, app: App) -> list[str]:
        if may_view_draft(request.user, app):
            return ["exports"]
        return ["published_exports"] if may_view(request.user, "version", app) else []

    def get_inlines(self, request: HttpRequest, obj: App | None) -> Any:
        return [TableInline] if obj else []

    def save_model(self, request: HttpRequest, obj: App, form: forms.ModelForm, change: bool) -> None:
        if change:
            App.objects.locked(obj.pk)
        super().save_model(request, obj, form, change)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """A user who may delete an app may delete with it what no user may delete alone."""
        deleted, counts, refused, protected = super().get_deleted_objects(objs, request)
        own = {
            model._meta.verbose_name for model in (Version, Replica, AwaitedReplica, RowErrorRecord, RunningSnapshot)
        }
        return deleted, counts, refused - own, protected

    @admin.action(description="Publish the drafts of the selected apps", permissions=["publish"])
    def publish_drafts(self, request: HttpRequest, apps: QuerySet[App]) -> None:
        for app in apps:
            if not self.has_publish_permission(request, app):
                self.message_user(request, f"{app}: you may not publish this app.", messages.ERROR)
                continue
            review = Review(app)
            before, cut_off = review.newest, review.cut_off if may_see_clients(request) else []
            try:
                warnings: list[str] = []
                version = publish_app(app, cast(User, request.user), warn=warnings.append)
            except ChangeSourceError as exc:
                self.message_user(request, told_to(request, exc), messages.ERROR)
                continue
            if version == before:
                text = f"{app}: the draft is the same as version {version.number}; there is nothing to publish."
                self.message_user(request, text, messages.INFO)
                continue
            self.log_change(request, app, f"Published version {version.number}.")
            self.message_user(request, f"{app}: published version {version.number}.", messages.SUCCESS)
            for each in [*cut_off, *warnings]:
                self.message_user(request, f"{app}: {each}", messages.WARNING)


def _changelist(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
