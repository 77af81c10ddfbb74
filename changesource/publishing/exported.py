"""Exports of an app's versions and draft, as files."""

from __future__ import annotations

from dataclasses import dataclass

from changesource.errors import UnknownVersion
from changesource.models import App, Version
from changesource.publishing.exports import ExportFormat, ExportOptions
from changesource.publishing.release import Release
from changesource.queries.registry import registry
from changesource.tables.definition import AppDefinition

DRAFT = "draft"
"""Stands in the place of a version's number."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file called `name`, to be written or sent."""

    name: str
    content_type: str
    text: str


def export_version(
    app: App, export_format: ExportFormat, number: int | None = None, *, legacy_queries: bool | None = None
) -> ExportedFile:
    """The version of `app` with this number, by default the one in force. `legacy_queries` is that
    of `ExportOptions`, and the query functions are those of this process.

    Raises `UnknownVersion` if there is none, and `InvalidDefinition` if the format cannot express
    it.
    """
    version = Version.objects.newest(app) if number is None else app.versions.filter(number=number).first()
    if version is None and number is None:
        raise UnknownVersion(f"{app} has never been published. Publish it, or export its draft.")
    if version is None or version.cluster_time is None:
        raise UnknownVersion(
            f"{app} has no published version {number}. Choose one of its versions, or export its draft."
        )
    return _file(version.to_definition(), export_format, f"v{version.number}", legacy_queries)


def export_draft(app: App, export_format: ExportFormat, *, legacy_queries: bool | None = None) -> ExportedFile:
    """The draft of `app` as it is now. Raises `InvalidDefinition` if it could not be published."""
    draft = Release.of_draft(app)
    draft.refuse_problems(f"The draft of {app} cannot be exported.")
    return _file(draft.definition, export_format, DRAFT, legacy_queries)


def _file(
    definition: AppDefinition, export_format: ExportFormat, state: str, legacy_queries: bool | None
) -> ExportedFile:
    options = ExportOptions(registry.of_app(definition.app_id), legacy_queries)
    return ExportedFile(
        name=f"{definition.app_id}-{state}.{export_format.ending}",
        content_type=export_format.content_type,
        text=export_format.render(definition, options),
    )
