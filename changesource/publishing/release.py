"""A draft or a version of an app, with everything that is derived from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from changesource.errors import InvalidDefinition
from changesource.models import App, Version
from changesource.models.draft import draft_definition
from changesource.publishing.client_view import Access, ClientView
from changesource.publishing.compiled import CompiledVersion
from changesource.publishing.definition_problems import Problem, find_problems
from changesource.tables.definition import AppDefinition

DRAFT_NUMBER = 0
"""Stands for the number of a draft, which has none. Versions count from 1."""


@dataclass(frozen=True, slots=True)
class PreImages:
    """Collections of a source that record pre-images, or have to."""

    source: str = ""
    collections: frozenset[str] = frozenset()

    def has(self, needed: PreImages) -> bool:
        return needed.collections <= (self.collections if self.source == needed.source else frozenset())


NO_PRE_IMAGES = PreImages()


class Release:
    """What an app is, or is going to be, once published: its `definition`, and what follows from
    it.

    Everything is worked out when it is first asked for, and then kept, so the code that shows,
    checks and publishes a draft passes one release along. `compiled` and what is made of it may only
    be asked for if there are no `problems`.
    """

    def __init__(self, definition: AppDefinition, number: int = DRAFT_NUMBER) -> None:
        self.definition = definition
        self.number = number

    @classmethod
    def of_draft(cls, app: App) -> Release:
        """The draft as it is in the Django database now."""
        return cls(draft_definition(app))

    @classmethod
    def of_version(cls, version: Version) -> Release:
        return cls(version.to_definition(), version.number)

    @cached_property
    def json(self) -> dict[str, Any]:
        """What is stored of it."""
        return self.definition.to_json()

    @cached_property
    def digest(self) -> str:
        """The same text for the same definition."""
        return hashlib.sha256(json.dumps(self.json, sort_keys=True).encode()).hexdigest()

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Why it must not be published."""
        return tuple(find_problems(self.definition))

    @cached_property
    def compiled(self) -> CompiledVersion:
        return CompiledVersion(self.definition, self.number)

    @cached_property
    def pre_images(self) -> PreImages:
        """Those without which some table could not be kept right."""
        return PreImages(self.definition.source, frozenset(self.compiled.collections_with_pre_images))

    @cached_property
    def whole_view(self) -> ClientView:
        """What a client that may read everything sees."""
        return ClientView(self.compiled, Access())

    def refuse_problems(self, heading: str) -> None:
        """Raises `InvalidDefinition` with `heading` and every problem, if there is one."""
        if self.problems:
            raise InvalidDefinition("\n".join([heading, *map(str, self.problems)]))
