"""What clients lose by a publish, and which tables of a version their grants do not show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.utils import timezone

from changesource.models import App, Client, Grant
from changesource.mql import MqlError, normal_mapping_text
from changesource.publishing.row_filters import find_row_filter_problems
from changesource.tables.definition import AppDefinition, Table

CONFIRM_ACTION = "Confirm the tables that the grants of selected clients name"
"""The action in the list of clients, by the name that messages use."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """A client that will not see a table, or needs a person's attention, with the reason and the
    remedy. `refuses`: nothing may be published before that is done."""

    client_id: int
    client: str
    message: str
    refuses: bool

    def __str__(self) -> str:
        return f"Client {self.client}: {self.message}"


def find_cut_off(app: App, published: AppDefinition | None, new: AppDefinition) -> list[CutOff]:
    """What clients of `app` lose, or do not get, if `new` follows the version that is `published`.

    A publish after which a row filter could not be evaluated is refused, unless the client is
    switched off or has expired. Everything else is only reported: a table that was granted by name
    is dropped, reads other documents, or computes the columns of a row filter in another way; or a
    table is new, and the client's grant does not name it.
    """
    old = published or AppDefinition(app.app_id, new.source, ())
    grants = app.grants.select_related("client").order_by("client__name")
    return [
        CutOff(grant.client.pk, grant.client.name, message.text, message.refuses and _is_valid(grant.client))
        for grant in grants
        for message in _messages(grant, old, new)
    ]


def find_not_shown(grant: Grant, definition: AppDefinition) -> list[str]:
    """Why `grant` does not show tables of the published `definition` that it may be meant to show,
    in sentences. If the grant lists its tables, the others are left out on purpose."""
    named = grant.named_tables()
    if named is None:
        return []
    origins = definition.origins()
    unnamed = [name for name in origins if name not in named]
    said = [f"{_listed(unnamed)}: no row filter. {_how_to_share(unnamed)}"] if grant.all_tables and unnamed else []
    for name in sorted(named & origins.keys()):
        if grant.origins.get(name) != origins[name]:
            said.append(f"{_why_other_documents(name, grant.origins.get(name), origins[name])} {_how_to_confirm()}")
    return said


@dataclass(frozen=True, slots=True)
class _Message:
    text: str
    refuses: bool = False


def _messages(grant: Grant, old: AppDefinition, new: AppDefinition) -> Iterator[_Message]:
    named = grant.named_tables()
    if named is None:
        return
    filters = _filters_by_table(grant.row_filters)
    tables_before = {table.name: table for table in old.tables}
    tables_after = {table.name: table for table in new.tables}
    before, after = old.origins(), new.origins()
    for name in sorted(named):
        text = filters.get(name, "{}")
        granted = grant.origins.get(name)
        if granted is None or granted != before.get(name) or find_row_filter_problems(old, text):
            continue  # the client does not see the table now either
        if name not in after:
            yield _Message(_why_gone_with_filter(name), refuses=True) if name in filters else _Message(_why_gone(name))
        elif granted != after[name]:
            yield _Message(f"{_why_other_documents(name, granted, after[name])} {_how_to_confirm()}")
        elif problems := find_row_filter_problems(new, text):
            yield _Message(_why_unusable(name, problems), refuses=True)
        elif json.loads(text).get(name) and _computes_otherwise(tables_before[name], tables_after[name]):
            yield _Message(_why_to_look(name))
    yield from _about_new_tables(grant, named, [name for name in after if name not in before], after)


def _about_new_tables(
    grant: Grant, named: frozenset[str], added: Sequence[str], origins: Mapping[str, str]
) -> Iterator[_Message]:
    if unnamed := [name for name in added if name not in named]:
        if grant.all_tables:
            why = f"It has row filters, and none for {_listed(unnamed)}. {_how_to_share(unnamed)}"
        else:
            why = f"It may read chosen tables only, and {_listed(unnamed)} {_is_or_are(unnamed)} not among them."
        yield _Message(f"It will not see everything that is new. {why}")
    for name in added:
        if name in named and grant.origins.get(name) != origins[name]:
            yield _Message(f"{_why_other_documents(name, grant.origins.get(name), origins[name])} {_how_to_confirm()}")


def _computes_otherwise(old: Table, new: Table) -> bool:
    """Whether a filter column takes its value from another place in the same documents."""
    fields = {column.name: column.field for column in old.columns}
    return old.mapping != new.mapping or any(
        fields.get(column.name) != column.field for column in new.columns if column.name in new.filter_columns
    )


def _filters_by_table(row_filters: str) -> Mapping[str, str]:
    """Name of a table → the row filters, reduced to that table's. Empty for text that is not an
    object: the client sees nothing that it could lose."""
    try:
        filters = json.loads(normal_mapping_text(row_filters) or "{}")
    except MqlError:
        return {}
    return {name: json.dumps({name: source}) for name, source in filters.items()} if isinstance(filters, dict) else {}


def _is_valid(client: Client) -> bool:
    return client.is_active and (client.expires_at is None or client.expires_at > timezone.now())


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def _is_or_are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _how_to_share(names: Sequence[str]) -> str:
    return f"The row filter {json.dumps({names[0]: {}})} shares the whole table."


def _how_to_confirm() -> str:
    return f'To show it, choose "{CONFIRM_ACTION}" in the list of clients after publishing.'


def _why_gone(name: str) -> str:
    return f"It may read the table {name!r}, which is dropped: it loses the table. Grant it others that it should have."


def _why_gone_with_filter(name: str) -> str:
    return (
        f"Its row filters name the table {name!r}, which is dropped. First choose the tables that it may read, without this "
        "one; or keep the table."
    )


def _why_other_documents(name: str, granted: str | None, published: str) -> str:
    if granted is None:
        return f"Its grant named the table {name!r} before the table existed, so it does not see the table."
    return f"Its grant means {granted} by the table {name!r}. The table now reads {published}, so it does not see the table."


def _why_to_look(name: str) -> str:
    return (
        f"Its row filter for the table {name!r} uses columns whose values will be computed in another way. Check that it "
        "still lets the right rows pass."
    )


def _why_unusable(name: str, problems: Sequence[str]) -> str:
    return (
        f"Its row filter for the table {name!r} could no longer be evaluated, so it would lose the table: "
        f"{'; '.join(problems)} First change the client's filter, or keep the columns that it uses."
    )
