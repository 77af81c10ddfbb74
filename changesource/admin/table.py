"""Tables of drafts with their columns. An invalid table is refused with a message at the field."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.forms.formsets import DELETION_FIELD_NAME
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html_join

from changesource.admin.json_editor import JsonEditor
from changesource.admin.rules import RulePages
from changesource.errors import ChangeSourceError
from changesource.models import App, Column, Table
from changesource.models.draft import draft_definition, table_definition
from changesource.models.table import default_primary_key
from changesource.mql import MqlError, normal_mapping_text
from changesource.operations.preview import preview_page
from changesource.publishing.definition_problems import Problem, find_warnings
from changesource.publishing.edited_table import find_problems_of_edit
from changesource.publishing.index_proposals import propose_indexes
from changesource.publishing.review import Review
from changesource.tables.definition import MAX_TEXT_LENGTH

DEFAULTS_FROM = {"collection": "server_name", "field": "server_name", "server_name": "name"}
"""Where an empty input takes its value from."""

PREVIEW_LIMIT = 10
"""Documents."""


class NamesField(forms.CharField):
    """A list of names, separated by commas."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return [name.strip() for name in (super().to_python(value) or "").split(",") if name.strip()]


class IndexesField(forms.CharField):
    """Lists of names: one list on each line, separated by commas."""

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(", ".join(map(str, index)) for index in value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        lines = (super().to_python(value) or "").splitlines()
        return [[name.strip() for name in line.split(",") if name.strip()] for line in lines if line.strip()]


class MappingField(forms.CharField):
    """A mapping, or permissions, as text. Text that was stored on one line, as `load_schema` does,
    is shown indented."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_TEXT_LENGTH, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        try:
            is_one_line = value and "\n" not in value
            return (
                json.dumps(json.loads(normal_mapping_text(value)), ensure_ascii=False, indent=2)
                if is_one_line
                else value
            )
        except (MqlError, ValueError):
            return value


class TableForm(forms.ModelForm):
    mapping = MappingField(
        required=False,
        widget=JsonEditor(rows=12),
        help_text=Table._meta.get_field("mapping").help_text,
    )
    permissions = MappingField(
        required=False,
        widget=JsonEditor(rows=8),
        help_text=Table._meta.get_field("permissions").help_text,
    )
    primary_key = NamesField(
        initial=default_primary_key,
        help_text=f"{Table._meta.get_field('primary_key').help_text} Separate several by commas.",
    )

    filter_columns = NamesField(
        required=False,
        widget=AdminTextInputWidget(attrs={"placeholder": "none", "spellcheck": "false"}),
        help_text=f"{Table._meta.get_field('filter_columns').help_text} Separate several by commas.",
    )

    indexes = IndexesField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "none", "spellcheck": "false"}),
        help_text=f"{Table._meta.get_field('indexes').help_text} One index on each line, columns separated by commas.",
    )

    class Meta:
        model = Table
        fields = [
            "app",
            "name",
            "server_name",
            "collection",
            "mapping",
            "permissions",
            "primary_key",
            "filter_columns",
            "indexes",
            "position",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The formset of the columns gets the instance but no form, and has to add errors to this
        # one.
        self.instance.edited_by = self


class ColumnFormSet(BaseInlineFormSet):
    """The columns of a table. It validates the table as a whole, because problems often lie between
    the columns."""

    def clean(self) -> None:
        super().clean()
        forms_of_columns = [form for form in self.forms if self._is_kept(form)]
        problems = find_problems_of_edit(self.instance, [form.instance for form in forms_of_columns])
        for problem in problems:
            if problem.column:
                for form in forms_of_columns:
                    if form.instance.name == problem.column:
                        _add_problem(form, problem)
            elif problem.attribute in self.instance.edited_by.fields and problem.table in ("", self.instance.name):
                _add_problem(self.instance.edited_by, problem)
            else:
                # A problem of the app's relationships, or of another table's rules that lead here.
                self.instance.edited_by.add_error(None, str(problem))
        if problems:
            raise ValidationError("The table cannot be published as it is. See the messages at its fields.")

    def _is_kept(self, form: forms.ModelForm) -> bool:
        is_deleted = form.cleaned_data.get(DELETION_FIELD_NAME, False)
        is_unused = form.empty_permitted and not form.has_changed()
        return bool(form.instance.name) and not is_unused and not is_deleted


def _add_problem(form: forms.ModelForm, problem: Problem) -> None:
    """Shows `problem` where its value was written, unless a message is there already."""
    field = problem.attribute
    while field in DEFAULTS_FROM and not form[field].value():
        field = DEFAULTS_FROM[field]
    if field not in form.errors:
        form.add_error(field, problem.message)


class ColumnInline(admin.TabularInline):
    model = Column
    formset = ColumnFormSet
    fields = ["name", "type", "optional", "field", "server_name", "position"]
    extra = 1


@admin.register(Table)
class TableAdmin(RulePages):
    form = TableForm
    inlines = [ColumnInline]
    readonly_fields = ["proposed_indexes"]
    list_display = ["name", "app", "collection_read", "is_mapped", "column_count", "position"]
    list_filter = ["app"]
    list_select_related = ["app"]
    search_fields = ["name", "server_name", "collection"]
    autocomplete_fields = ["app"]

    class Media:
        css = {"all": ["changesource/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(column_count=Count("columns"))

    @admin.display(description="collection")
    def collection_read(self, table: Table) -> str:
        return table_definition(table, ()).collection

    @admin.display(description="mapped", boolean=True)
    def is_mapped(self, table: Table) -> bool:
        return bool(table.mapping)

    def get_fields(self, request: HttpRequest, obj: Table | None = None) -> Any:
        """The proposed indexes are shown below the input for indexes."""
        fields = [name for name in TableForm.Meta.fields if name != "position"]
        return [*fields, *(["proposed_indexes"] if obj else []), "position"]

    @admin.display(description="proposed indexes")
    def proposed_indexes(self, table: Table) -> str:
        proposals = propose_indexes(draft_definition(table.app)).get(table.name, ())
        return format_html_join(
            "",
            "<p><code>{}</code> – {}</p>",
            ((", ".join(each.columns), "; ".join(each.reasons)) for each in proposals),
        ) or ("Every column that the app's relationships and permissions look up has an index.")

    @admin.display(description="columns", ordering="column_count")
    def column_count(self, table: Any) -> Any:
        return table.column_count

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """An address may name the app of a new table. Django's widget fails on text that is not a
        key."""
        initial = super().get_changeform_initial_data(request)
        return {name: value for name, value in initial.items() if name != "app" or _number(str(value))}

    def get_formset_kwargs(self, request: HttpRequest, obj: Table, inline: Any, prefix: str) -> dict[str, Any]:
        kwargs = super().get_formset_kwargs(request, obj, inline, prefix)
        if request.method == "GET" and obj.pk is None:
            kwargs["initial"] = [{"name": "_id", "type": "string"}]
        return kwargs

    def get_urls(self) -> list[URLPattern]:
        return [self.page_url("preview", "preview/", self.preview_view), *super().get_urls()]

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The first documents of the collection with their rows. Viewing a table is enough to
        preview it."""
        table = self.viewed_object(request, object_id)
        definition = table_definition(table, table.columns.all())
        context = {
            "title": f"Preview of {table}",
            "table": table,
            "definition": definition,
            "limit": PREVIEW_LIMIT,
            "warnings": [f"{warning.column}: {warning.message}" for warning in find_warnings(definition)],
            "columns": [column.server_name for column in definition.columns],
        }
        try:
            answer = preview_page(table.app, table.name, PREVIEW_LIMIT)
            context |= {"documents": answer.items, "is_cut": answer.is_cut}
        except ChangeSourceError as error:
            context["failure"] = str(error).splitlines()
        return self.page(request, "preview", context)

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Adds how the draft that is being edited compares with what streams."""
        table = context.get("original")
        app = table.app if table else App.objects.filter(pk=_number(request.GET.get("app", ""))).first()
        context["review"] = Review(app) if app else None
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Table, form: forms.ModelForm, change: bool) -> None:
        App.objects.locked(obj.app_id)
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Table) -> None:
        App.objects.locked(obj.app_id)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Table]) -> None:
        for table in queryset:
            self.delete_model(request, table)


def _number(text: str) -> int:
    """The number that `text` is, or 0, which no row has as its key."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0
