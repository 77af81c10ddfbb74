"""What filters, expressions and pipelines give here is what the embedded MongoDB gives for the same documents.

The examples are always the same, so that an unknown departure of the server fails nobody else's change. With
AGREEMENT_SECONDS=600 (`make agreement`) each test goes on for that long, with other examples all the time.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

from changesource.mql import MqlError, compile_filter, compile_pipeline
from tests.mql.agreement.documents import batches
from tests.mql.agreement.mappings import filters, pipelines, results, simple_mappings
from tests.mql.agreement.outcomes import (
    FAILED,
    UNANSWERED,
    Document,
    Documents,
    in_words,
    our_outcome,
    store,
    their_outcome,
)
from tests.mql.agreement.spelled_out import for_server, pipeline_for_server

SECONDS = float(os.environ.get("AGREEMENT_SECONDS", "0"))

EXAMPLES = 150
"""Of a batch of documents with several mappings each: half a minute for all tests on two cores."""

agreeing = settings(max_examples=EXAMPLES, deadline=None, derandomize=not SECONDS, suppress_health_check=[*HealthCheck])
pytestmark = pytest.mark.timeout(SECONDS + 300)


def mappings_of(mappings: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(mappings, min_size=4, max_size=12)


def test_a_filter_matches_what_find_finds(collection: Documents) -> None:
    """For any documents, a filter matches those that `find` finds."""

    @agreeing
    @given(batches, mappings_of(filters(2)))
    def agree(documents: list[Document], found: list[Document]) -> None:
        stored = store(collection, documents)
        for filter in found:
            expect_same_matches(collection, stored, filter)

    repeat(agree)


def test_an_expression_has_the_value_that_aggregate_gives(collection: Documents) -> None:
    """Or it fails where `aggregate` fails."""

    @agreeing
    @given(batches, mappings_of(results))
    def agree(documents: list[Document], found: list[Any]) -> None:
        stored = store(collection, documents)
        for expression in found:
            pipeline = [{"$replaceWith": {"result": expression}}]
            expect_same_rows(collection, stored, {"pipeline": pipeline}, pipeline)

    repeat(agree)


def test_a_pipeline_gives_the_rows_that_aggregate_gives(collection: Documents) -> None:
    """Or it fails where `aggregate` fails."""

    @agreeing
    @given(batches, mappings_of(pipelines))
    def agree(documents: list[Document], found: list[Any]) -> None:
        stored = store(collection, documents)
        for pipeline in found:
            expect_same_rows(collection, stored, {"pipeline": pipeline}, pipeline)

    repeat(agree)


def test_a_filter_and_a_projection_give_what_they_give_as_stages(collection: Documents) -> None:
    """A simple mapping is a short form of a pipeline."""

    @agreeing
    @given(batches, mappings_of(simple_mappings))
    def agree(documents: list[Document], found: list[Document]) -> None:
        stored = store(collection, documents)
        for mapping in found:
            pipeline = [{"$match": mapping["filter"]}, {"$project": mapping["projection"]}]
            expect_same_rows(collection, stored, mapping, pipeline)

    repeat(agree)


def repeat(check: Callable[[], None]) -> None:
    end = time.monotonic() + SECONDS
    check()
    while time.monotonic() < end:
        check()


# Filters


def expect_same_matches(collection: Documents, stored: list[Document], filter: Document) -> None:
    pipeline = [{"$match": filter}]
    try:
        matches = compile_filter(filter)
        ours = [document["_id"] for document in stored if matches(document)]
        theirs = [document["_id"] for document in collection.find(for_server(filter), {"_id": 1})]
    except (MqlError, OperationFailure):
        expect_same_rows(collection, stored, {"pipeline": pipeline}, pipeline)
    else:
        assert ours == theirs


# Rows


def expect_same_rows(
    collection: Documents, stored: list[Document], mapping: Document, pipeline: list[Document]
) -> None:
    """All documents at once; one by one when there is an error, as the server gives up at the first."""
    try:
        compiled = compile_pipeline(mapping)
    except MqlError as error:
        expect_refusal(collection, stored, pipeline, error)
        return
    ours = [our_outcome(compiled, document) for document in stored]
    for_them = pipeline_for_server(pipeline)
    theirs = their_outcome(collection, for_them)
    if FAILED not in ours and theirs == [row for rows in ours for row in rows]:
        return
    for document, outcome in zip(stored, ours, strict=True):
        expected = their_outcome(collection, for_them, document)
        assert expected in (outcome, UNANSWERED), (
            f"For {document!r} we give {in_words(outcome)}, and the server {in_words(expected)}."
        )


# Refusals


def expect_refusal(collection: Documents, stored: list[Document], pipeline: list[Document], error: MqlError) -> None:
    """The server refuses the stage for each document; or part of it is a constant that fails when it is needed.

    Constants mongod refuses when it optimizes the pipeline, the embedded server only for a document that needs them. A stage
    that cannot work is refused here, also where documents never come as far.
    """
    stage = pipeline_for_server([pipeline[index_of_stage(error)]])
    outcomes = [their_outcome(collection, stage, document) for document in stored]
    if any(outcome not in (FAILED, UNANSWERED) for outcome in outcomes):
        assert any(fails_alone(collection, part) for part in constant_parts(pipeline)), error


def index_of_stage(error: MqlError) -> int:
    """From its place: pipeline[3], or in a simple mapping filter or projection."""
    found = re.fullmatch(r"pipeline\[(\d+)\]", error.place[0])
    return int(found[1]) if found else ("filter", "projection").index(error.place[0])


def fails_alone(collection: Documents, expression: Any) -> bool:
    pipeline = pipeline_for_server([{"$replaceWith": {"result": expression}}])
    return their_outcome(collection, pipeline) in (FAILED, UNANSWERED)


def constant_parts(value: Any) -> list[Any]:
    """Operators in it that read nothing, the inner ones first."""
    if isinstance(value, Mapping):
        parts = [part for name, member in value.items() if name != "$literal" for part in constant_parts(member)]
        return [*parts, value] if any(name.startswith("$") for name in value) and not reads(value) else parts
    return [part for item in value for part in constant_parts(item)] if isinstance(value, list) else []


def reads(value: Any) -> bool:
    if isinstance(value, str):
        return value.startswith("$") and value != "$$REMOVE"
    if isinstance(value, Mapping):
        return "$getField" in value or any(reads(member) for name, member in value.items() if name != "$literal")
    return isinstance(value, list) and any(map(reads, value))
