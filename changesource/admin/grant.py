"""What a client may read of an app, on the client's page. Names that the published version does not
have are refused."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest
from django.utils.formats import localize
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from changesource.admin.json_editor import JsonEditor
from changesource.admin.table import MappingField
from changesource.models import AccessVersion, App, Grant, Version
from changesource.publishing.grants import find_not_shown
from changesource.publishing.row_filters import find_row_filter_problems


class PublishedVersions:
    """The version of each app that streams, looked up once for a page."""

    @cached_property
    def by_app(self) -> Mapping[App, Version | None]:
        return {app: Version.objects.newest(app) for app in App.objects.all()}

    def of(self, app: App) -> Version | None:
        return self.by_app.get(app)


class TablesField(forms.MultipleChoiceField):
    """Names of tables of any app. The form, which knows the app, refuses those that are not
    published.

    The value of a choice is `<id of the app>/<name>`, because two apps may have tables of the same
    name.
    """

    widget = forms.CheckboxSelectMultiple(attrs={"class": "cs-tables"})

    def valid_value(self, value: str) -> bool:
        return True


class RowFiltersField(MappingField):
    """Neither other line ends, as browsers send them, nor another layout of the same JSON counts as
    a change."""

    def to_python(self, value: Any) -> Any:
        return (super().to_python(value) or "").replace("\r\n", "\n")

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.to_python(self.prepare_value(initial)), self.to_python(data))


class GrantForm(forms.ModelForm):
    """Checked against what streams only if it was changed: a dropped table must not prevent a user
    from switching a client off."""

    tables = TablesField(
        required=False,
        help_text="Tables of the version that streams, if it may not read all. The client does not learn that others exist.",
    )
    row_filters = RowFiltersField(
        required=False, widget=JsonEditor(rows=5), help_text=Grant._meta.get_field("row_filters").help_text
    )

    class Meta:
        model = Grant
        fields = ["app", "all_tables", "tables", "shards", "row_filters"]

    def __init__(self, *args: Any, published: PublishedVersions, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.published = published
        if self.instance.pk and "app" in self.fields:
            self.fields["app"].disabled = True  # another app is another grant
        tables = self.fields.get("tables")
        if isinstance(tables, TablesField):  # a user who may only view does not have the field
            apps = [self.instance.app] if self.instance.pk else list(published.by_app)
            tables.choices = [(app.app_id, choices) for app in apps if (choices := self._choices(app))]
            self.initial["tables"] = [_choice(self.instance.app, name) for name in self._stored]

    @property
    def _stored(self) -> Sequence[str]:
        """The tables that the stored grant has."""
        return self.instance.tables if self.instance.pk else ()

    def _choices(self, app: App) -> list[tuple[str, str]]:
        version = self.published.of(app)
        names = _table_names(version)
        gone = [name for name in self._stored if name not in names]
        return [(_choice(app, name), name) for name in names] + [
            (_choice(app, name), f"{name} (no longer published)") for name in gone
        ]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        app = cleaned.get("app")
        if app is None or not self.has_changed():
            cleaned["tables"] = list(self._stored)
            return cleaned
        chosen = cleaned.get("tables", [])
        cleaned["tables"] = [name.partition("/")[2] for name in chosen]
        if any(not choice.startswith(f"{app.pk}/") for choice in chosen):
            self.add_error("tables", f"Choose tables of {app} only.")
        elif cleaned.get("all_tables") and chosen:
            self.add_error("tables", 'It may read all tables. Choose none here, or clear "all tables".')
        else:
            self._check(app, self.published.of(app), cleaned)
        return cleaned

    def _check(self, app: App, version: Version | None, cleaned: Mapping[str, Any]) -> None:
        """Adds an error for each name that `version` does not have."""
        may_read_all, tables, row_filters = (cleaned.get(name) for name in ("all_tables", "tables", "row_filters"))
        if version is None:
            if not may_read_all:
                self.add_error("all_tables", f"{app} has no published version to choose tables from. Publish it first.")
            if row_filters:
                self.add_error("row_filters", f"{app} has no published version to filter. Publish it first.")
            return
        if not may_read_all and not tables:
            self.add_error("tables", "Choose at least one table, or delete the grant.")
        names = _table_names(version)
        if unknown := [name for name in tables or () if name not in names]:
            self.add_error(
                "tables",
                f"{', '.join(unknown)}: not in version {version.number} of {app}. It has {', '.join(names)}.",
            )
        if row_filters and "row_filters" not in self.errors:
            problems = find_row_filter_problems(version.to_definition(), row_filters)
            if problems:
                self.add_error("row_filters", [ValidationError(str(problem)) for problem in problems])


class GrantFormSet(BaseInlineFormSet):
    @cached_property
    def published(self) -> PublishedVersions:
        return PublishedVersions()

    def get_form_kwargs(self, index: int | None) -> dict[str, Any]:
        return {**super().get_form_kwargs(index), "published": self.published}


class GrantInline(admin.StackedInline):
    model = Grant
    form = GrantForm
    formset = GrantFormSet
    fields = ["app", "all_tables", "tables", "shards", "row_filters", "in_force"]
    readonly_fields = ["in_force"]

    class Media:
        js = [forms.widgets.Script("changesource/grant_tables.js", defer=True)]

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 0 if obj is not None and obj.grants.exists() else 1

    @admin.display(description="in force")
    def in_force(self, grant: Grant) -> SafeString:
        """The access that the rows in the client's streams have reached, and which tables the grant
        does not show."""
        if not grant.pk:
            return SafeString("Nothing yet: it comes into force when the client connects.")
        published = Version.objects.newest(grant.app)
        not_shown = find_not_shown(Grant.objects.get(pk=grant.pk), published.to_definition()) if published else []
        return format_html_join(SafeString("<br>"), "{}", ((line,) for line in [*self._state(grant), *not_shown]))

    def _state(self, grant: Grant) -> list[str]:
        versions = AccessVersion.objects.filter(client=grant.client, app=grant.app).order_by("-number")
        newest = versions.first()
        if newest is None:
            return ["Nothing yet: the client has not connected to this app."]
        lines: list[str] = []
        if newest.cluster_time is None:
            lines.append(f"Access version {newest.number} is waiting for the stream.")
        elif newest.access != Grant.objects.get(pk=grant.pk).access():
            lines.append("The saved grant comes into force when the client streams.")
        if met := versions.filter(cluster_time__isnull=False).first():
            lines.append(f"Access version {met.number}, since {localize(_since(met))}.")
        return lines


def _since(version: AccessVersion) -> datetime:
    """By the source's clock, or by ours for a version without a marker."""
    seconds = (version.cluster_time or 0) >> 32
    return datetime.fromtimestamp(seconds, UTC) if seconds else version.created_at


def _table_names(version: Version | None) -> list[str]:
    return [table["name"] for table in version.definition["tables"]] if version else []


def _choice(app: App, name: str) -> str:
    return f"{app.pk}/{name}"
