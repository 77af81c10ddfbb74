"""Previews: the rows that the draft of a table makes of documents, before it is published."""

from __future__ import annotations

from typing import Any

from changesource.conf import load_settings
from changesource.models import App
from changesource.models.draft import draft_definition
from changesource.tables.definition import AppDefinition
from changesource.trials.limits import TrialLimits
from changesource.trials.process import TrialAnswer, run_trial

COMMAND_LIMITS = TrialLimits(output_bytes=64 * 2**20)
"""A command delays no stream, and a file has room for more than a page."""


def preview_table(app: App, table_name: str, limit: int) -> list[dict[str, Any]]:
    """The first `limit` documents of the table's collection, ordered by `_id`, as `{"document",
    "rows", "errors"}`. `table_name` is the table's name or server name.

    Raises `InvalidDefinition` if there is no such table, or with every problem of the draft;
    `UnknownSource`, `SourceUnreachable`, `SourceUnusable`, and what `trials.process.run_trial`
    raises.
    """
    request = {"trial": "complete preview", **trial_request(draft_definition(app), table_name, limit)}
    return run_trial(request, COMMAND_LIMITS, cuts=False).items


def preview_page(app: App, table_name: str, limit: int) -> TrialAnswer:
    """The same for a page, which shows no more than a person can read; see
    `trials.preview.page_previews`."""
    return run_trial({"trial": "page of a preview", **trial_request(draft_definition(app), table_name, limit)})


def trial_request(draft: AppDefinition, table_name: str, limit: int) -> dict[str, Any]:
    """What the requests of all trials of a table of `draft` have in common. It holds the URI of
    that source and no other."""
    sources = load_settings().sources
    return {
        "definition": draft.to_json(),
        "sources": {name: uri for name, uri in sources.items() if name == draft.source},
        "table": table_name,
        "limit": limit,
    }
