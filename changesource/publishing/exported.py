"""Exports of an app's versions and of its draft, as files."""

from __future__ import annotations

from dataclasses import dataclass

from changesource.errors import InvalidDefinition, UnknownVersion
from changesource.models import App
from changesource.models.draft import draft_definition
from changesource.publishing.definition_problems import find_problems
from changesource.publishing.exports import ExportFormat
from changesource.publishing.versions import newest_version
from changesource.tables.definition import AppDefinition

DRAFT = "draft"
"""What stands for the number of a version."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file to be written or sent, under `name`."""

    name: str
    content_type: str
    text: str


def export_version(app: App, export_format: ExportFormat, number: int | None = None) -> ExportedFile:
    """The version of `app` with this number, by default the one in force.

    Raises `UnknownVersion` when there is none, and `InvalidDefinition` when the format cannot say it.
    """
    version = newest_version(app) if number is None else app.versions.filter(number=number).first()
    if version is None and number is None:
        raise UnknownVersion(f"{app} has never been published. Publish it, or export its draft.")
    if version is None or version.cluster_time is None:
        raise UnknownVersion(
            f"{app} has no published version {number}. Choose one of its versions, or export its draft."
        )
    return _file(version.to_definition(), export_format, f"v{version.number}")


def export_draft(app: App, export_format: ExportFormat) -> ExportedFile:
    """What the draft of `app` says now. Raises `InvalidDefinition` for one that could not be published."""
    draft = draft_definition(app)
    if problems := find_problems(draft):
        raise InvalidDefinition("\n".join([f"The draft of {app} cannot be exported.", *map(str, problems)]))
    return _file(draft, export_format, DRAFT)


def _file(definition: AppDefinition, export_format: ExportFormat, state: str) -> ExportedFile:
    return ExportedFile(
        name=f"{definition.app_id}-{state}.{export_format.ending}",
        content_type=export_format.content_type,
        text=export_format.render(definition),
    )
