"""Which clients a publish would cut off from what they may read now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.utils import timezone

from changesource.mapping.definition import AppDefinition
from changesource.mapping.mapping_error import MappingError
from changesource.mapping.mapping_text import normal_mapping_text
from changesource.models import App, Client, Grant, Version
from changesource.publishing.row_filters import find_row_filter_problems


@dataclass(frozen=True, slots=True)
class CutOff:
    """A client that loses a table, with why and what to do. `refuses`: nothing may be published before that is done."""

    client_id: int
    client: str
    message: str
    refuses: bool

    def __str__(self) -> str:
        return f"Client {self.client}: {self.message}"


def find_cut_off(app: App, definition: AppDefinition) -> list[CutOff]:
    """What clients of `app` have of the version that is in force, and would lose if `definition` followed it.

    A table whose row filter cannot be evaluated is not shown to its client, so a publish after which a filter cannot be
    evaluated any more is refused; not for a client that is switched off or has expired, which is only told of. So is a table
    without a filter that goes: the client was given it by its name. What a client has not had before is not lost.
    """
    newest = Version.objects.newest(app)
    if newest is None:
        return []
    old = newest.to_definition()
    grants = app.grants.select_related("client").order_by("client__name")
    return [cut_off for grant in grants for cut_off in _cut_off(grant, old, definition)]


def _cut_off(grant: Grant, old: AppDefinition, new: AppDefinition) -> Iterator[CutOff]:
    client = grant.client
    filters = _filters_by_table(grant.row_filters)
    before, after = _names(old), _names(new)
    if not grant.all_tables:
        filters = {name: text for name, text in filters.items() if name in grant.tables}
        for name in dict.fromkeys(grant.tables):
            if name in before and name not in after and name not in filters:
                yield CutOff(client.pk, client.name, _why_gone(name), refuses=False)
    for name, text in filters.items():
        if name not in before or find_row_filter_problems(old, text):
            continue
        if name not in after:
            yield CutOff(client.pk, client.name, _why_gone_with_filter(name), refuses=_is_valid(client))
        elif problems := find_row_filter_problems(new, text):
            yield CutOff(client.pk, client.name, _why_unusable(name, problems), refuses=_is_valid(client))


def _filters_by_table(row_filters: str) -> Mapping[str, str]:
    """Name of a table → the row filters with nothing but those of this table. None for text that is no object: its client
    sees nothing that could be lost."""
    try:
        filters = json.loads(normal_mapping_text(row_filters) or "{}")
    except MappingError:
        return {}
    return {name: json.dumps({name: source}) for name, source in filters.items()} if isinstance(filters, dict) else {}


def _names(definition: AppDefinition) -> frozenset[str]:
    return frozenset(table.name for table in definition.tables)


def _is_valid(client: Client) -> bool:
    return client.is_active and (client.expires_at is None or client.expires_at > timezone.now())


def _why_gone(name: str) -> str:
    return f"It may read the table {name!r}, which goes: it loses the table. Give it others where it should have them."


def _why_gone_with_filter(name: str) -> str:
    return (
        f"Its row filters name the table {name!r}, which goes. First choose the tables that it may read, without this one; "
        "or keep the table."
    )


def _why_unusable(name: str, problems: Sequence[str]) -> str:
    return (
        f"Its row filter for the table {name!r} could not be evaluated any more, so that it would lose the table: "
        f"{'; '.join(problems)} First change the filter of the client, or keep in the table what it asks for."
    )
