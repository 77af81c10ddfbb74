"""What is wrong with the collections that a draft names, judging by what they are in the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from changesource.errors import ChangeSourceError
from changesource.mongo.collection_kinds import KINDS_WITHOUT_STREAM
from changesource.publishing.definition_problems import Problem
from changesource.tables.definition import AppDefinition


@dataclass(frozen=True, slots=True)
class CollectionProblems:
    """`refused` prevent the draft from being published: such a table could never follow its source.
    `warnings` are for the person who publishes."""

    refused: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, draft: AppDefinition, kinds: Mapping[str, str]) -> Self:
        """`kinds`: collection → kind, as `mongo.collection_kinds` returns it."""
        refused = tuple(
            Problem(
                "collection",
                f"{table.collection!r} is {KINDS_WITHOUT_STREAM[kinds[table.collection]]}, which has no change stream: "
                "changes would never arrive. Name the collection that it reads, and filter and compute with a mapping.",
                table.name,
            )
            for table in draft.tables
            if kinds.get(table.collection) in KINDS_WITHOUT_STREAM
        )
        warnings = tuple(
            Problem(
                "collection",
                f"There is no collection {table.collection!r} that the user of the source may read. The table stays empty "
                "until it exists. Check the name.",
                table.name,
            )
            for table in draft.tables
            if table.collection not in kinds
        )
        return cls(refused, warnings)

    @classmethod
    def unknown(cls, error: ChangeSourceError) -> Self:
        """For a source that did not answer."""
        text = (
            "It is not known whether the collections exist and have a change stream. `manage.py check_source` checks "
            f"again. {error}"
        )
        return cls(warnings=(Problem("source", text),))
