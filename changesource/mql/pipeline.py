"""A mapping, compiled: which documents each document of a collection becomes.

`{"source"?, "filter"?, "projection"?}`, or `{"source"?, "pipeline"}`. The filter is MongoDB's query language, the
projection that of `$project`, and a pipeline is a list of the stages that work on one document at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changesource.mql.budget import Budget, BudgetExceeded
from changesource.mql.errors import MappingError
from changesource.mql.expressions.compiler import folding_budget
from changesource.mql.nesting import check_nesting
from changesource.mql.projections import Document, parse_projection
from changesource.mql.stages import Match, Names, Project, Shape, Stage, parse_stage

STEPS_OF_ERROR = 50
"""Python takes long to raise an error through all that it is in."""

SLICE = 4096
"""Documents that go through the stages together."""

SIMPLE_KEYS = ("source", "filter", "projection")
PIPELINE_KEYS = ("source", "pipeline")


def compile_mapping(mapping: Mapping[str, Any]) -> CompiledMapping:
    """A function that gives a list of documents for each document of the source; values stay BSON types.

    Raises `MappingError` with the place of what is wrong, and the function raises it for a document that it cannot be
    computed for.
    """
    if not isinstance(mapping, Mapping):
        raise MappingError("A mapping is an object with a filter and a projection, or with a pipeline.")
    check_nesting(mapping)
    allowed = PIPELINE_KEYS if "pipeline" in mapping else SIMPLE_KEYS
    for key in mapping:
        if key not in allowed:
            raise MappingError(
                f"A mapping has {', '.join(SIMPLE_KEYS)}, or {' and '.join(PIPELINE_KEYS)}.", (str(key),)
            )
    source = mapping.get("source", "")
    if not isinstance(source, str):
        raise MappingError("Write the name of a collection.", ("source",))
    folding = folding_budget()
    stages = _pipeline(mapping["pipeline"], folding) if "pipeline" in mapping else _simple(mapping, folding)
    return CompiledMapping(stages)


def _simple(mapping: Mapping[str, Any], folding: Budget) -> list[tuple[str, Stage]]:
    stages: list[tuple[str, Stage]] = []
    try:
        if mapping.get("filter") is not None and mapping["filter"] != {}:
            stages.append(("filter", Match(mapping["filter"], folding)))
    except MappingError as error:
        raise error.within("filter") from error
    try:
        if mapping.get("projection") is not None and mapping["projection"] != {}:
            stages.append(("projection", Project(parse_projection(mapping["projection"], folding))))
    except MappingError as error:
        raise error.within("projection") from error
    return stages


def _pipeline(pipeline: object, folding: Budget) -> list[tuple[str, Stage]]:
    if not isinstance(pipeline, list | tuple):
        raise MappingError("Write a list of stages.", ("pipeline",))
    stages = []
    for index, specification in enumerate(pipeline):
        place = f"pipeline[{index}]"
        try:
            stages.append((place, parse_stage(specification, folding)))
        except MappingError as error:
            raise error.within(place) from error
    return stages


class CompiledMapping:
    """`stages` are the stages with their places in the mapping. `splits` says whether a document can become several."""

    def __init__(self, stages: list[tuple[str, Stage]]) -> None:
        self._stages = stages
        self._steps = sum(stage.steps for _, stage in stages)
        self.splits = any(stage.splits for _, stage in stages)

    def __call__(self, document: Document | None, budget: Budget | None = None) -> list[dict[str, Any]]:
        """The documents that `document` becomes; for None, which stands for no document, none.

        What is given back may share values with `document`. Raises `MappingError`, and `BudgetExceeded`, with the stage in
        its place, when it takes more than `budget`, or, without one, more than a document may.
        """
        if document is None:
            return []
        if budget is None:
            budget = Budget()
        if not self._stages:
            return [dict(document)]
        if self.splits:
            return self._run([document], 0, budget)
        budget.spend_steps(self._steps)
        documents: list[Any] = [document]
        try:
            for place, stage in self._stages:  # noqa: B007 - the place is for the error
                documents = stage.run(documents, budget)
        except BudgetExceeded as error:
            raise error.within(place) from error
        return documents

    def _run(self, documents: list[Any], first: int, budget: Budget) -> list[Any]:
        """`documents` through the stages from `first` on; it is emptied where they are many."""
        for place in range(first, len(self._stages)):
            if len(documents) > SLICE:
                return self._run_in_slices(documents, place, budget)
            name, stage = self._stages[place]
            try:
                budget.spend_steps(len(documents) * stage.steps)
                documents = stage.run(documents, budget)
            except BudgetExceeded as error:
                raise error.within(name) from error
        return documents

    def _run_in_slices(self, documents: list[Any], first: int, budget: Budget) -> list[Any]:
        """So that what an array is unwound to is not held together with what becomes of it."""
        results: list[Any] = []
        for start in range(0, len(documents), SLICE):
            some = documents[start : start + SLICE]
            documents[start : start + SLICE] = [None] * len(some)
            results += self._run(some, first, budget)
        return results

    def run_leniently(
        self, document: Document, budget: Budget | None = None
    ) -> tuple[list[dict[str, Any]], list[MappingError]]:
        """As a call, but what is wrong with one of the documents on the way loses only that one."""
        if budget is None:
            budget = Budget()
        documents: list[Any] = [document]
        errors: list[MappingError] = []
        for place, stage in self._stages:
            steps, rows, size = budget.steps, budget.rows, budget.bytes
            try:
                budget.spend_steps(len(documents) * stage.steps)
                documents = stage.run(documents, budget)
            except BudgetExceeded as error:
                raise error.within(place) from error
            except MappingError:
                # The same once more, one by one, for no more than it costs without the errors.
                budget.steps, budget.rows, budget.bytes = steps, rows, size
                documents = _run_one_by_one(stage, place, documents, budget, errors)
        return documents, errors

    @property
    def repeats_values(self) -> bool:
        """Whether what it makes can have one value of the document in it several times."""
        return any(stage.repeats_values for _, stage in self._stages)

    def shape(self) -> Shape:
        """What is known of the documents that it gives."""
        shape = Shape()
        for _, stage in self._stages:
            shape = stage.shape(shape)
        return shape

    def needed_for(self, fields: Names) -> tuple[CompiledMapping, Names]:
        """As much of it as computes `fields` for the documents that it keeps, and the top-level fields of a source's
        document that this reads."""
        return self._slice(fields, keeps_filters=True)

    def without_filters(self, fields: Names) -> tuple[CompiledMapping, Names]:
        """What computes `fields` for every document, whether the mapping keeps it or not; and what this reads."""
        return self._slice(fields, keeps_filters=False)

    def decides_by(self) -> Names:
        """The top-level fields of a document on which it depends how many documents it becomes."""
        return self._slice(frozenset(), keeps_filters=True)[1]

    def _slice(self, fields: Names, *, keeps_filters: bool) -> tuple[CompiledMapping, Names]:
        needed = fields
        stages: list[tuple[str, Stage]] = []
        for place, stage in reversed(self._stages):
            if isinstance(stage, Match) and not keeps_filters:
                continue
            sliced, needed = stage.slice(needed)
            if sliced is not None:
                stages.append((place, sliced))
        return CompiledMapping(stages[::-1]), needed


def _run_one_by_one(
    stage: Stage, place: str, documents: list[Any], budget: Budget, errors: list[MappingError]
) -> list[Any]:
    passed: list[Any] = []
    for item in documents:
        try:
            budget.spend_steps(stage.steps)
            passed += stage.run([item], budget)
        except BudgetExceeded as error:
            raise error.within(place) from error
        except MappingError as error:
            budget.spend_steps(STEPS_OF_ERROR)
            errors.append(error.within(place))
    return passed
