"""pipeline.py: whole mappings, and the parts of them that some fields need."""

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st

from changesource.mql import MqlError, compile_pipeline
from changesource.mql.expressions import WHOLE_DOCUMENT
from changesource.mql.ordering import equal
from changesource.mql.pipeline import CompiledPipeline
from tests.examples import examples
from tests.mql import mappings
from tests.mql.mappings import NAMES

LENIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def compiled(mapping: Any) -> CompiledPipeline:
    """Rejects the example where it is no mapping."""
    try:
        return compile_pipeline(mapping)
    except MqlError:
        reject()


def results(mapping: CompiledPipeline, document: dict[str, Any]) -> list[dict[str, Any]]:
    """Rejects the example where the mapping cannot be computed."""
    try:
        return mapping(document)
    except MqlError:
        reject()


def only(documents: list[dict[str, Any]], fields: frozenset[str]) -> list[dict[str, Any]]:
    """What of `fields` each document has, by name: their order tells nothing."""
    return [{name: document[name] for name in sorted(fields) if name in document} for document in documents]


# Whole mappings


@pytest.mark.parametrize(
    ("mapping", "document", "expected"),
    [
        ({}, {"_id": 1, "a": 2}, [{"_id": 1, "a": 2}]),
        ({"filter": {"a": 2}}, {"_id": 1, "a": 2}, [{"_id": 1, "a": 2}]),
        ({"filter": {"a": 2}}, {"_id": 1, "a": 3}, []),
        ({"projection": {"a": 1}}, {"_id": 1, "a": 2, "b": 3}, [{"_id": 1, "a": 2}]),
        ({"filter": {"b": 3}, "projection": {"c": "$a"}}, {"_id": 1, "a": 2, "b": 3}, [{"_id": 1, "c": 2}]),
        ({"filter": {}, "projection": {}}, {"_id": 1}, [{"_id": 1}]),
        ({"filter": None, "projection": None}, {"_id": 1}, [{"_id": 1}]),
        ({"source": "city", "filter": {"a": 1}}, {"a": 1}, [{"a": 1}]),
        ({"pipeline": []}, {"_id": 1}, [{"_id": 1}]),
        ({"pipeline": [{"$unwind": "$a"}, {"$match": {"a": {"$gt": 1}}}]}, {"a": [1, 2, 3]}, [{"a": 2}, {"a": 3}]),
    ],
)
def test_a_document_goes_through_filter_and_projection_or_stages(mapping: Any, document: Any, expected: Any) -> None:
    """In this order, or in theirs."""
    assert compile_pipeline(mapping)(document) == expected


def test_no_document_becomes_none() -> None:
    """No document becomes none."""
    assert compile_pipeline({})(None) == []


def test_without_stages_a_copy_is_given() -> None:
    """The caller may change what it gets."""
    document = {"_id": 1}
    assert compile_pipeline({})(document)[0] is not document


@pytest.mark.parametrize(
    ("mapping", "place"),
    [
        ({"filter": {"a": {"$nope": 1}}}, "filter.a"),
        ({"projection": {"a": {"$nope": 1}}}, "projection.a"),
        ({"projection": {"a": 1, "b": 0}}, "projection"),
        ({"filters": {}}, "filters"),
        ({"pipeline": {}}, "pipeline"),
        ({"pipeline": [], "filter": {}}, "filter"),
        ({"source": 5}, "source"),
        ({"pipeline": [{"$match": {}}, {"$lookup": {}}]}, "pipeline[1]"),
        ({"pipeline": [{"$match": {}, "$unset": "a"}]}, "pipeline[0]"),
        ({"pipeline": [{"$addFields": {"a": {"$divide": [1, 0]}}}]}, "pipeline[0].$addFields.a.$divide"),
    ],
)
def test_what_is_not_a_mapping_is_refused(mapping: Any, place: str) -> None:
    """With the place."""
    with pytest.raises(MqlError) as refused:
        compile_pipeline(mapping)
    assert ".".join(refused.value.place).startswith(place)


def test_only_an_object_is_a_mapping() -> None:
    """A list of stages is none."""
    with pytest.raises(MqlError, match="object"):
        compile_pipeline([])  # type: ignore[arg-type]


def test_a_lenient_run_loses_only_what_fails() -> None:
    """The error has its place."""
    mapping = compile_pipeline({"pipeline": [{"$unwind": "$a"}, {"$project": {"b": {"$toInt": "$a"}}}]})
    found, errors = mapping.run_leniently({"_id": 1, "a": ["1", "x", "3", "y"]})
    assert [document["b"] for document in found] == [1, 3]
    assert [error.place[:2] for error in errors] == [("pipeline[1]", "b")] * 2


@LENIENT
@given(mappings.mappings, mappings.documents)
def test_a_lenient_run_is_the_same_without_errors(mapping: Any, document: Any) -> None:
    """And so are both for a mapping that can be computed."""
    whole = compiled(mapping)
    expected = results(whole, document)
    assert whole.run_leniently(document) == (expected, [])


@LENIENT
@given(mappings.mappings, mappings.documents)
def test_documents_are_not_changed(mapping: Any, document: Any) -> None:
    """A mapping makes new documents."""
    before = repr(document)
    results(compiled(mapping), document)
    assert repr(document) == before


# What some fields need


@settings(LENIENT, max_examples=examples(300))
@given(mappings.mappings, mappings.wanted_fields, mappings.documents)
def test_what_some_fields_need_gives_these_fields(mapping: Any, fields: frozenset[str], document: Any) -> None:
    """And as many documents."""
    whole = compiled(mapping)
    expected = results(whole, document)
    needed, _ = whole.needed_for(fields)
    assert equal(only(needed(document), fields), only(expected, fields))


@settings(LENIENT, max_examples=examples(300))
@given(st.data(), mappings.mappings, mappings.wanted_fields, mappings.documents)
def test_a_field_that_is_not_read_changes_nothing(
    data: Any, mapping: Any, fields: frozenset[str], document: Any
) -> None:
    """Whatever its value."""
    needed, reads = compiled(mapping).needed_for(fields)
    assume(WHOLE_DOCUMENT not in reads)
    expected = results(needed, document)
    changed = changed_beside(data, document, reads)
    assert equal(only(needed(changed), fields), only(expected, fields))


def changed_beside(data: Any, document: dict[str, Any], reads: frozenset[str]) -> dict[str, Any]:
    kept = {name: value for name, value in document.items() if name in reads}
    free = [name for name in (*NAMES, "_id") if name not in reads]
    return {**data.draw(st.dictionaries(st.sampled_from(free), mappings.values)), **kept} if free else kept


@settings(LENIENT, max_examples=examples(300))
@given(st.data(), mappings.mappings, mappings.documents)
def test_a_field_that_does_not_decide_leaves_the_number_of_documents(data: Any, mapping: Any, document: Any) -> None:
    """How many documents one becomes depends on no other fields than those that are said to."""
    whole = compiled(mapping)
    decides = whole.decides_by()
    assume(WHOLE_DOCUMENT not in decides)
    expected = len(results(whole, document))
    assert len(results(whole, changed_beside(data, document, decides))) == expected


@settings(LENIENT, max_examples=examples(300))
@given(mappings.mappings, mappings.wanted_fields, mappings.documents)
def test_without_filters_a_document_is_always_kept(mapping: Any, fields: frozenset[str], document: Any) -> None:
    """Where the filters keep it, the result is the same."""
    whole = compiled(mapping)
    expected = results(whole, document)
    free = whole.without_filters(fields)[0]
    if whole.splits:
        found = only(results(free, document), fields)
        assert all(any(equal(one, other) for other in found) for one in only(expected, fields))
    else:
        found = results(free, document)
        assert len(found) == 1
        assert not expected or equal(only(found, fields), only(expected, fields))


@settings(LENIENT, max_examples=examples(300))
@given(st.data(), mappings.mappings, mappings.wanted_fields, mappings.documents)
def test_a_key_depends_only_on_the_fields_that_it_is_said_to_read(
    data: Any, mapping: Any, fields: frozenset[str], document: Any
) -> None:
    """So keys can be computed from the fields that are said to be read."""
    free, reads = compiled(mapping).without_filters(fields)
    assume(WHOLE_DOCUMENT not in reads)
    expected = results(free, document)
    assert equal(only(free(changed_beside(data, document, reads)), fields), only(expected, fields))


@settings(LENIENT, max_examples=examples(300))
@given(mappings.mappings, mappings.documents)
def test_a_mapping_that_does_not_split_gives_one_document_at_most(mapping: Any, document: Any) -> None:
    """A mapping that is not said to split gives one document at most."""
    whole = compiled(mapping)
    assert whole.splits or len(results(whole, document)) <= 1


@pytest.mark.parametrize(
    ("mapping", "fields", "reads"),
    [
        ({}, {"a"}, {"a"}),
        ({"filter": {"b.c": 1}}, {"a"}, {"a", "b"}),
        ({"filter": {"$expr": {"$gt": ["$b", "$c.d"]}}}, {"a"}, {"a", "b", "c"}),
        ({"projection": {"a": "$b", "c": "$d"}}, {"a"}, {"b"}),
        ({"projection": {"a": 1}}, {"b"}, set()),
        ({"projection": {"a": 0}}, {"b"}, {"b"}),
        ({"projection": {"a.x": "$b"}}, {"a"}, {"a", "b"}),
        ({"pipeline": [{"$addFields": {"a": "$b"}}, {"$addFields": {"c": "$a"}}]}, {"c"}, {"b"}),
        ({"pipeline": [{"$addFields": {"a": "$b"}}, {"$match": {"a": 1}}]}, {"c"}, {"b", "c"}),
        ({"pipeline": [{"$unwind": "$a.x"}]}, {"c"}, {"a", "c"}),
        ({"pipeline": [{"$unwind": {"path": "$a", "includeArrayIndex": "i"}}]}, {"i"}, {"a"}),
        ({"pipeline": [{"$unset": "a"}]}, {"a"}, set()),
        ({"pipeline": [{"$replaceWith": {"a": "$b", "c": "$d"}}]}, {"a"}, {"b", "d"}),
        ({"pipeline": [{"$replaceWith": {"$mergeObjects": ["$$ROOT", {"a": 1}]}}]}, {"a"}, {WHOLE_DOCUMENT}),
        ({"pipeline": [{"$project": {"a": 1, "b": 1}}, {"$replaceWith": "$$ROOT"}]}, {"a"}, {"_id", "a", "b"}),
        ({"pipeline": [{"$addFields": {"a": "$$ROOT.b"}}]}, {"a"}, {"b"}),
        ({"pipeline": [{"$unset": "b"}, {"$replaceWith": "$$ROOT"}]}, {"a"}, {WHOLE_DOCUMENT}),
        ({"pipeline": [{"$unwind": {"path": "$a", "includeArrayIndex": "c.i"}}]}, {"c"}, {"a", "c"}),
        ({"projection": {"a": {"$getField": "c.d"}}}, {"a"}, {"c.d"}),
        ({"projection": {"a": {"$getField": {"field": "c", "input": "$$ROOT"}}}}, {"a"}, {"c"}),
    ],
)
def test_as_few_fields_as_possible_are_read(mapping: Any, fields: set[str], reads: set[str]) -> None:
    """As far as the mapping tells."""
    assert compile_pipeline(mapping).needed_for(frozenset(fields))[1] == reads
