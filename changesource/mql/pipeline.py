"""What a document becomes: a filter and a projection, or a list of stages, compiled.

It is written as `{"source"?, "filter"?, "projection"?}` or as `{"source"?, "pipeline"}`, which people call a mapping. The
filter is in MongoDB's query language, the projection is that of `$project`, and the stages are those that work on one
document at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from changesource.mql.budget import Budget, BudgetExceeded
from changesource.mql.errors import MqlError
from changesource.mql.expressions.compiler import folding_budget
from changesource.mql.nesting import check_nesting
from changesource.mql.projections import Document, parse_projection
from changesource.mql.stages import Match, Names, Project, Shape, Stage, parse_stage

SLICE = 4096
"""How many documents go through the stages together."""

SIMPLE_KEYS = ("source", "filter", "projection")
PIPELINE_KEYS = ("source", "pipeline")


def compile_pipeline(mapping: Mapping[str, Any]) -> CompiledPipeline:
    """A function that gives a list of documents for each document of the source. Values keep their BSON types.

    Raises `MqlError` with the place of what is wrong. The function raises it for a document for which the mapping cannot
    be computed.
    """
    if not isinstance(mapping, Mapping):
        raise MqlError("A mapping is an object with a filter and a projection, or with a pipeline.")
    check_nesting(mapping)
    allowed = PIPELINE_KEYS if "pipeline" in mapping else SIMPLE_KEYS
    for key in mapping:
        if key not in allowed:
            raise MqlError(f"A mapping has {', '.join(SIMPLE_KEYS)}, or {' and '.join(PIPELINE_KEYS)}.", (str(key),))
    source = mapping.get("source", "")
    if not isinstance(source, str):
        raise MqlError("Write the name of a collection.", ("source",))
    folding = folding_budget()
    stages = _pipeline(mapping["pipeline"], folding) if "pipeline" in mapping else _simple(mapping, folding)
    return CompiledPipeline(stages)


def _simple(mapping: Mapping[str, Any], folding: Budget) -> list[tuple[str, Stage]]:
    stages: list[tuple[str, Stage]] = []
    try:
        if mapping.get("filter") is not None and mapping["filter"] != {}:
            stages.append(("filter", Match(mapping["filter"], folding)))
    except MqlError as error:
        raise error.within("filter") from error
    try:
        if mapping.get("projection") is not None and mapping["projection"] != {}:
            stages.append(("projection", Project(parse_projection(mapping["projection"], folding))))
    except MqlError as error:
        raise error.within("projection") from error
    return stages


def _pipeline(pipeline: object, folding: Budget) -> list[tuple[str, Stage]]:
    if not isinstance(pipeline, list | tuple):
        raise MqlError("Write a list of stages.", ("pipeline",))
    stages = []
    for index, specification in enumerate(pipeline):
        place = f"pipeline[{index}]"
        try:
            stages.append((place, parse_stage(specification, folding)))
        except MqlError as error:
            raise error.within(place) from error
    return stages


class CompiledPipeline:
    """A compiled mapping. `stages` come with their places in it. `splits` says whether one document can become several."""

    def __init__(self, stages: list[tuple[str, Stage]]) -> None:
        self._stages = stages
        self._steps = sum(stage.steps for _, stage in stages)
        self.splits = any(stage.splits for _, stage in stages)

    def __call__(self, document: Document | None, budget: Budget | None = None) -> list[dict[str, Any]]:
        """The documents that `document` becomes; none for None, which stands for no document.

        The results may share values with `document`. Raises `MqlError`, and `BudgetExceeded` when the work takes more than
        `budget` or, without one, more than a document may cost. The place of either begins with the stage.
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
        """Runs `documents` through the stages from `first` on. The list is emptied when it is long."""
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
        """Keeps the unwound elements of a long array and their results from being in memory together."""
        results: list[Any] = []
        for start in range(0, len(documents), SLICE):
            some = documents[start : start + SLICE]
            documents[start : start + SLICE] = [None] * len(some)
            results += self._run(some, first, budget)
        return results

    def run_leniently(
        self, document: Document, budget: Budget | None = None
    ) -> tuple[list[dict[str, Any]], list[MqlError]]:
        """Like a call, but an error in one of the documents on the way loses only that document."""
        if budget is None:
            budget = Budget()
        documents: list[Any] = [document]
        errors: list[MqlError] = []
        for place, stage in self._stages:
            steps, rows, size = budget.steps, budget.rows, budget.bytes
            try:
                budget.spend_steps(len(documents) * stage.steps)
                documents = stage.run(documents, budget)
            except BudgetExceeded as error:
                raise error.within(place) from error
            except MqlError:
                # Once more, one by one. The first attempt costs nothing.
                budget.steps, budget.rows, budget.bytes = steps, rows, size
                documents = _run_one_by_one(stage, place, documents, budget, errors)
        return documents, errors

    @property
    def repeats_values(self) -> bool:
        """Whether one value of the document can occur in the result several times."""
        return any(stage.repeats_values for _, stage in self._stages)

    def shape(self) -> Shape:
        """What is known of the documents that the pipeline gives."""
        shape = Shape()
        for _, stage in self._stages:
            shape = stage.shape(shape)
        return shape

    def needed_for(self, fields: Names) -> tuple[CompiledPipeline, Names]:
        """The part of the pipeline that computes `fields` for the documents that it keeps, and the top-level fields of a
        source document that this part reads."""
        return self._slice(fields, keeps_filters=True)

    def without_filters(self, fields: Names) -> tuple[CompiledPipeline, Names]:
        """The part of the pipeline that computes `fields` for every document, kept or not, and what this part reads."""
        return self._slice(fields, keeps_filters=False)

    def decides_by(self) -> Names:
        """The top-level fields that decide how many documents a document becomes."""
        return self._slice(frozenset(), keeps_filters=True)[1]

    def _slice(self, fields: Names, *, keeps_filters: bool) -> tuple[CompiledPipeline, Names]:
        needed = fields
        stages: list[tuple[str, Stage]] = []
        for place, stage in reversed(self._stages):
            if isinstance(stage, Match) and not keeps_filters:
                continue
            sliced, needed = stage.slice(needed)
            if sliced is not None:
                stages.append((place, sliced))
        return CompiledPipeline(stages[::-1]), needed


def _run_one_by_one(
    stage: Stage, place: str, documents: list[Any], budget: Budget, errors: list[MqlError]
) -> list[Any]:
    passed: list[Any] = []
    for item in documents:
        try:
            budget.spend_steps(stage.steps)
            passed += stage.run([item], budget)
        except BudgetExceeded as error:
            raise error.within(place) from error
        except MqlError as error:
            budget.spend_error()
            errors.append(error.within(place))
    return passed
