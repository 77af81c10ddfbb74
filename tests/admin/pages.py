"""Admin pages as a test fills and reads them."""

from __future__ import annotations

from typing import Any

from django.test import Client as Browser
from django.urls import reverse

from changesource.models import App, Client, Table


def url(page: str, *args: object) -> str:
    """The address of a page of the admin of `changesource`: `app_add`, `table_change`."""
    return reverse(f"admin:changesource_{page}", args=args)


def messages_of(response: Any) -> list[str]:
    """The messages that a page shows."""
    return [str(message) for message in response.context["messages"]]


def table_data(app: App, /, *columns: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What the page of a table sends: `columns` with what differs from a string column."""
    data = {
        "app": app.pk,
        "name": "country",
        "server_name": "",
        "collection": "",
        "mapping": "",
        "primary_key": "_id",
        "position": "1",
        "columns-TOTAL_FORMS": len(columns),
        "columns-INITIAL_FORMS": sum("id" in column for column in columns),
        **changes,
    }
    for index, column in enumerate(columns):
        defaults = {"name": "", "type": "string", "server_name": "", "field": "", "position": str(index)}
        for attribute, value in {**defaults, **column}.items():
            data[f"columns-{index}-{attribute}"] = value
    return data


class TablePage:
    """What the page of a table says after it was sent: `saved`, or `errors` by the name of the input."""

    def __init__(self, browser: Browser, data: dict[str, Any], table: Table | None = None) -> None:
        address = url("table_change", table.pk) if table else url("table_add")
        response = browser.post(address, data)
        self.saved = response.status_code == 302
        self.errors: dict[str, list[str]] = {}
        if not self.saved:
            self.text = response.content.decode()
            self.errors.update(response.context["adminform"].form.errors)
            [columns] = response.context["inline_admin_formsets"]
            for form in columns.formset.forms:
                self.errors.update({form.add_prefix(name): errors for name, errors in form.errors.items()})


def client_data(*grants: dict[str, Any], credentials: Any = (), **changes: Any) -> dict[str, Any]:
    """What the page of a client sends: `grants` with what differs from all tables of an app, and its `credentials` as they
    are stored."""
    data = {
        "name": "cache",
        "attributes": "{}",
        "is_active": "on",
        "expires_at_0": "",
        "expires_at_1": "",
        "_save": "Save",
        "grants-TOTAL_FORMS": len(grants),
        "grants-INITIAL_FORMS": sum("id" in grant for grant in grants),
        "credentials-TOTAL_FORMS": len(credentials),
        "credentials-INITIAL_FORMS": len(credentials),
        **changes,
    }
    for index, grant in enumerate(grants):
        defaults = {"all_tables": "on", "tables": [], "shards": "", "row_filters": ""}
        for attribute, value in {**defaults, **grant}.items():
            if value is not None:
                data[f"grants-{index}-{attribute}"] = value
    for index, credential in enumerate(credentials):
        data[f"credentials-{index}-id"] = credential.pk
        data[f"credentials-{index}-label"] = credential.label
    return data


class ClientPage:
    """What the page of a client says after it was sent: `saved`, or `errors` by the name of the input."""

    def __init__(self, browser: Browser, data: dict[str, Any], client: Client | None = None) -> None:
        address = url("client_change", client.pk) if client else url("client_add")
        response = browser.post(address, data)
        self.saved = response.status_code == 302
        self.address = response.headers.get("Location")
        self.errors: dict[str, list[str]] = {}
        if not self.saved:
            self.errors.update(response.context["adminform"].form.errors)
            for formset in response.context["inline_admin_formsets"]:
                for form in formset.formset.forms:
                    self.errors.update({form.add_prefix(name): errors for name, errors in form.errors.items()})
