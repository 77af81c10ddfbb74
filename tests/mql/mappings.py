"""Hypothesis strategies of pipelines, and of documents that suit them.

There are few names, so that stages meet what earlier ones made, and the operators seldom fail.
"""

from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "c", "d")
INNER = ("x", "y")

names = st.sampled_from(NAMES)
paths = names | st.builds("{}.{}".format, names, st.sampled_from(INNER))
field_paths = paths.map("${}".format)

leaves = st.sampled_from([None, True, False, 0, 1, 2, -1, "", "t", "u"])
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=2),
    max_leaves=6,
)
documents = st.builds(
    lambda document_id, fields: {"_id": document_id, **fields},
    st.sampled_from([1, "one", {"x": 1}]),
    st.dictionaries(names, values, max_size=4),
)


def _over(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.builds(lambda one, other: {"$eq": [one, other]}, inner, inner),
        st.builds(lambda one, other: {"$ifNull": [one, other]}, inner, inner),
        st.builds(lambda when, one, other: {"$cond": [when, one, other]}, inner, inner, inner),
        st.builds(lambda item: {"$isArray": [item]}, inner),
        st.builds(lambda item: {"$type": item}, inner),
        st.builds(lambda one, other: [one, other], inner, inner),
        st.builds(lambda one, other: {"x": one, "y": other}, inner, inner),
        st.builds(lambda value, body: {"$let": {"vars": {"v": value}, "in": [body, "$$v"]}}, inner, inner),
    )


expressions = st.recursive(
    field_paths
    | leaves.map(lambda value: {"$literal": value})
    | st.sampled_from(["$$ROOT", "$$CURRENT.a", "$$ROOT.b.x", "$$REMOVE", "$_id", {"$getField": "c"}]),
    _over,
    max_leaves=4,
)

conditions = st.one_of(
    leaves,
    leaves.map(lambda value: {"$ne": value}),
    st.booleans().map(lambda value: {"$exists": value}),
    st.lists(leaves, max_size=2).map(lambda value: {"$in": value}),
    st.just({"$type": "array"}),
    st.just({"$elemMatch": {"x": {"$gte": 0}}}),
    st.just({"$size": 1}),
)
filters = st.recursive(
    st.dictionaries(paths, conditions, min_size=1, max_size=2) | expressions.map(lambda found: {"$expr": found}),
    lambda inner: st.sampled_from(["$and", "$or", "$nor"]).flatmap(
        lambda name: st.lists(inner, min_size=1, max_size=2).map(lambda members: {name: members})
    ),
    max_leaves=3,
)


inclusions = st.dictionaries(paths, st.just(1), min_size=1, max_size=3)
exclusions = st.dictionaries(paths, st.just(0), min_size=1, max_size=2)
additions = st.dictionaries(paths, expressions, min_size=1, max_size=2)
projections = st.one_of(
    inclusions,
    exclusions,
    st.builds(lambda added, kept: {**kept, **added}, additions, inclusions),
    st.builds(lambda added, has_id: {"_id": has_id, **added}, additions, st.sampled_from([0, 1])),
    st.builds(lambda document_id, kept: {"_id": document_id, **kept}, expressions, inclusions),
)
unwinds = st.builds(
    lambda path, index, preserves: {
        "path": f"${path}",
        "preserveNullAndEmptyArrays": preserves,
        **({"includeArrayIndex": index} if index else {}),
    },
    paths,
    st.sampled_from([None, "i", "a", "b", "c.x"]),
    st.booleans(),
)
roots = st.one_of(
    st.builds(lambda one, other: {"a": one, "b": other, "_id": "$_id"}, expressions, expressions),
    names.map(lambda name: {"$mergeObjects": ["$$ROOT", {"x": f"${name}"}]}),
    names.map(lambda name: {"$cond": [{"$eq": [{"$type": f"${name}"}, "object"]}, f"${name}", "$$ROOT"]}),
)
stages = st.one_of(
    filters.map(lambda found: {"$match": found}),
    projections.map(lambda found: {"$project": found}),
    additions.map(lambda found: {"$addFields": found}),
    st.lists(paths, min_size=1, max_size=2).map(lambda found: {"$unset": found}),
    unwinds.map(lambda found: {"$unwind": found}),
    roots.map(lambda found: {"$replaceWith": found}),
)
pipelines = st.lists(stages, max_size=4)
simple_mappings = st.fixed_dictionaries({}, optional={"filter": filters, "projection": projections})
mappings = simple_mappings | pipelines.map(lambda found: {"pipeline": found})
"""Pipelines. MongoDB would refuse some: two entries of a projection may collide."""

wanted_fields = st.frozensets(st.sampled_from([*NAMES, "_id", "i", "x", "nowhere"]), max_size=3)
