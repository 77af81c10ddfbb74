"""How the draft of an app stands to what streams, as every page says it that shows or edits a draft."""

from __future__ import annotations

from dataclasses import dataclass

from changesource.models import App, Version
from changesource.models.draft import draft_definition
from changesource.publishing.versions import newest_version


@dataclass(frozen=True, slots=True)
class DraftState:
    """`newest` is the version that streams, None before the first."""

    app: App
    newest: Version | None
    differs: bool
    is_being_published: bool


def draft_state(app: App) -> DraftState:
    """Asks the Django database only."""
    newest = newest_version(app)
    return DraftState(
        app=app,
        newest=newest,
        differs=newest is None or newest.definition != draft_definition(app).to_json(),
        is_being_published=app.versions.filter(cluster_time=None).exists(),
    )
