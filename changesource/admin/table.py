"""Tables of drafts with their columns. An invalid definition is refused with a message at the field."""

# mypy: disallow-any-generics=False
# (Django's admin and form classes take no type arguments at run time.)

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.forms.formsets import DELETION_FIELD_NAME
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest

from changesource.mapping.definition import Problem
from changesource.models import App, Column, Table
from changesource.models.draft import table_definition
from changesource.models.table import default_primary_key
from changesource.publishing.problems import problems_of_table

DEFAULTS_FROM = {"collection": "server_name", "field": "server_name", "server_name": "name"}
"""Where the value of an input that was left empty comes from."""


class NamesField(forms.CharField):
    """A list of names, written with commas."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return [name.strip() for name in (super().to_python(value) or "").split(",") if name.strip()]


class TableForm(forms.ModelForm):
    primary_key = NamesField(
        initial=default_primary_key, help_text=f"{Table._meta.get_field('primary_key').help_text} Several: with commas."
    )

    class Meta:
        model = Table
        fields = ["app", "name", "server_name", "collection", "primary_key", "position"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The formset of the columns gets the instance and no form, and has to put errors into this one.
        self.instance.edited_by = self


class ColumnFormSet(BaseInlineFormSet):
    """The columns of a table; validates the table as a whole, because what is wrong often lies between them."""

    def clean(self) -> None:
        super().clean()
        forms_of_columns = [form for form in self.forms if self._is_kept(form)]
        problems = problems_of_table(self.instance, [form.instance for form in forms_of_columns])
        for problem in problems:
            if problem.column:
                for form in forms_of_columns:
                    if form.instance.name == problem.column:
                        _add_problem(form, problem)
            else:
                _add_problem(self.instance.edited_by, problem)
        if problems:
            raise ValidationError("The table cannot be published like this. See the messages at its fields.")

    def _is_kept(self, form: forms.ModelForm) -> bool:
        is_deleted = form.cleaned_data.get(DELETION_FIELD_NAME, False)
        is_unused = form.empty_permitted and not form.has_changed()
        return bool(form.instance.name) and not is_unused and not is_deleted


def _add_problem(form: forms.ModelForm, problem: Problem) -> None:
    """Show `problem` where its value was written, unless something is said there already."""
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
class TableAdmin(admin.ModelAdmin):
    form = TableForm
    inlines = [ColumnInline]
    list_display = ["name", "app", "collection_read", "column_count", "position"]
    list_filter = ["app"]
    list_select_related = ["app"]
    search_fields = ["name", "server_name", "collection"]
    autocomplete_fields = ["app"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(column_count=Count("columns"))

    @admin.display(description="collection")
    def collection_read(self, table: Table) -> str:
        return table_definition(table, ()).collection

    @admin.display(description="columns", ordering="column_count")
    def column_count(self, table: Any) -> Any:
        return table.column_count

    def get_formset_kwargs(self, request: HttpRequest, obj: Table, inline: Any, prefix: str) -> dict[str, Any]:
        kwargs = super().get_formset_kwargs(request, obj, inline, prefix)
        if request.method == "GET" and obj.pk is None:
            kwargs["initial"] = [{"name": "_id", "type": "string"}]
        return kwargs

    def save_model(self, request: HttpRequest, obj: Table, form: forms.ModelForm, change: bool) -> None:
        App.objects.locked(obj.app_id)
        super().save_model(request, obj, form, change)

    def delete_model(self, request: HttpRequest, obj: Table) -> None:
        App.objects.locked(obj.app_id)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Table]) -> None:
        for table in queryset:
            self.delete_model(request, table)
