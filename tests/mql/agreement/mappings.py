"""Filters, expressions and pipelines from the whole language of mappings, over the fields of `documents`."""

from collections.abc import Callable
from functools import cache
from typing import Any

from bson import Decimal128, Int64, Regex
from hypothesis import strategies as st

from tests.mql.agreement import documents
from tests.mql.agreement.documents import FIELDS, NAMES, Values

DEPTH = 3
"""How deep operators are nested."""

# Paths

_top = st.sampled_from([*FIELDS, "y"])
_below = st.sampled_from([*NAMES, *NAMES, "0", "1", "y"])
paths = st.one_of(
    _top,
    st.sampled_from(["o", "l", "x"]).flatmap(
        lambda name: st.lists(_below, min_size=1, max_size=2).map(lambda names: ".".join([name, *names]))
    ),
)
"""Paths of fields that mostly exist; with numbers for elements of arrays."""

field_paths = paths.map(lambda path: "$" + path)

ALIASES = [
    "double", "string", "object", "array", "binData", "objectId", "bool", "date", "null", "regex", "int", "timestamp",
    "long", "decimal", "minKey", "maxKey",
]  # fmt: skip
TYPE_NUMBERS = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 16, 17, 18, 19, -1, 127]

# Filters


def _is_no_regex(value: Any) -> bool:
    return not isinstance(value, Regex)


_plain = st.one_of(documents.nested, documents.scalars).filter(_is_no_regex)
_patterns = st.sampled_from(["a", "^a", "B", "b$", "^$", "[0-9]+", ".", "é", r"\d", "a.b", "^b"])
_size = st.sampled_from([0, 1, 2, 3, Int64(2), 2.0])
_modulus = st.tuples(
    st.sampled_from([1, 2, 3, -2, Int64(10), 2.5, Decimal128("3")]), st.sampled_from([0, 1, -1, 2.0, Int64(2)])
).map(list)
_type = st.sampled_from([*ALIASES, *TYPE_NUMBERS, "number"])


_OPERATORS_OF_KIND = {"number": ["$mod"] * 4, "array": ["$size", "$all", "$elemMatch"] * 2}
"""What is drawn more often."""


@cache
def conditions(kind: str, depth: int, *, with_mod: bool = True) -> Values:
    """A condition on a field that mostly has values of the kind: an object of operators."""
    plain = st.one_of(documents.KINDS[kind], documents.KINDS[kind], _plain, st.none()).filter(_is_no_regex)
    members = st.one_of(plain, plain, documents.regexes)
    operators: dict[str, Values] = {
        **dict.fromkeys(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"), plain),
        **dict.fromkeys(("$in", "$nin"), st.lists(members, max_size=4)),
        "$exists": st.booleans(),
        "$type": st.one_of(_type, st.lists(_type, min_size=1, max_size=3)),
        "$size": _size,
        "$mod": _modulus,
        "$all": st.lists(members.filter(lambda value: value is not None and not isinstance(value, list)), max_size=3),
    }
    if not with_mod:
        del operators["$mod"]
    if depth > 0:
        inner = conditions("number" if kind == "array" else kind, depth - 1, with_mod=with_mod)
        operators["$not"] = st.one_of(inner, documents.regexes)
        operators["$elemMatch"] = st.one_of(inner, filters(depth - 1, in_element=True, with_mod=with_mod))
        operators["$all"] = st.one_of(
            operators["$all"], st.lists(st.fixed_dictionaries({"$elemMatch": inner}), min_size=1, max_size=2)
        )
    with_regex = st.fixed_dictionaries(
        {"$regex": _patterns}, optional={"$options": st.sampled_from(["", "i", "m", "s", "x", "im"])}
    )
    names = [*sorted(operators), *(name for name in _OPERATORS_OF_KIND.get(kind, ()) if name in operators)]
    single = st.sampled_from(names).flatmap(lambda name: st.fixed_dictionaries({name: operators[name]}))
    return st.one_of(
        single,
        single,
        with_regex if kind == "text" else single,
        with_regex,
        st.tuples(single, single).map(lambda pair: {**pair[0], **pair[1]}),
    )


@cache
def filters(depth: int, *, in_element: bool = False, with_mod: bool = True) -> Values:
    """Filters. Those for objects in an array (`in_element`) begin with a field, as the server accepts no others there.

    `with_mod` must be False where numbers may be larger than in documents, as the server's $mod accepts all.
    """
    entry = paths.flatmap(
        lambda path: st.tuples(
            st.just(path),
            st.one_of(
                conditions(FIELDS.get(path, "any"), depth, with_mod=with_mod),
                conditions(FIELDS.get(path, "any"), depth, with_mod=with_mod),
                documents.KINDS[FIELDS.get(path, "any")],
                documents.regexes,
            ),
        )
    )
    fields = st.lists(entry, min_size=1, max_size=2).map(dict).map(_without_null_at_index)
    if depth == 0:
        return fields
    members = st.lists(filters(depth - 1, in_element=in_element, with_mod=with_mod), min_size=1, max_size=3)
    logical = st.sampled_from(["$and", "$or", "$nor"]).flatmap(lambda name: st.fixed_dictionaries({name: members}))
    both = st.tuples(fields, logical).map(lambda pair: {**pair[0], **pair[1]})
    if in_element:
        return st.one_of(fields, both)
    return st.one_of(fields, fields, logical, both, st.fixed_dictionaries({"$expr": expressions("bool", depth)}))


def _without_null_at_index(fields: dict[str, Any]) -> dict[str, Any]:
    """Takes the whole array in place of an element if the condition involves null."""

    def path_for(path: str, condition: Any) -> str:
        has_index = any(name.isdigit() for name in path.split("."))
        return path.split(".")[0] if has_index and "None" in repr(condition) else path

    return {path_for(path, condition): condition for path, condition in fields.items()}


# Expressions

UNITS = ["year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond"]
_unit = st.sampled_from(UNITS)
_zone = st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "+05:30", "-0330"])
_week_start = st.sampled_from(["monday", "Sunday", "wed", "SAT"])
_format = st.sampled_from(
    ["%Y-%m-%d", "%H:%M:%S.%L", "%G-W%V-%u", "%j %U %w", "%z %Z", "100%% %d/%m/%Y", "", "%b %B", "日%d"]
)
_amount = st.sampled_from([0, 1, -1, 2, 12, 13, -25, Int64(100), 3.0])
_name = st.sampled_from([*NAMES, "0", "a b"])
_to = st.sampled_from(
    ["double", "string", "objectId", "bool", "date", "int", "long", "decimal", 1, 2, 7, 8, 9, 16, 18, 19]
)

Sub = Callable[..., Values]
"""Expressions of a kind one level down; `scope` names the variables that it may use besides."""


def _named(required: dict[str, Values], **optional: Values) -> Values:
    return st.fixed_dictionaries(required, optional=optional)


def _arguments(*items: Values) -> Values:
    return st.tuples(*items).map(list)


def _some(items: Values, least: int = 0) -> Values:
    return st.lists(items, min_size=least, max_size=3)


def _present(values: Values) -> Values:
    """Avoids a missing value where the server takes it for null."""
    return values.map(lambda value: {"$ifNull": [value, None]})


def _rarely(often: Values, seldom: Values) -> Values:
    return st.integers(0, 9).flatmap(lambda chance: seldom if chance == 0 else often)


def _numbers(sub: Sub) -> dict[str, Values]:
    number, small = sub("number"), _rarely(documents.small_numbers, sub("number"))
    factor = st.one_of(documents.small_numbers, st.sampled_from([0.1, 1e300, float("nan"), float("inf")]))
    add = st.one_of(_some(number), _arguments(sub("date"), small))
    place = _rarely(st.sampled_from([0, 1, 2, -1, -2, 20]), small)
    text, token = sub("text"), _rarely(st.sampled_from(["a", "", "b", "é", "日"]), sub("text"))
    bounds = st.sampled_from([0, 1, 2, 3, 1.0])
    index = st.one_of(_arguments(text, token), _arguments(text, token, bounds), _arguments(text, token, bounds, bounds))
    index_of_item = st.one_of(
        _arguments(sub("array"), _present(sub("any"))), _arguments(sub("array"), _present(sub("any")), bounds, bounds)
    )
    date = sub("date")
    part = st.one_of(date, _named({"date": date}, timezone=_zone))
    end = st.one_of(documents.dates, field_paths, st.just("$t"))
    return {
        "$add": add,
        "$subtract": st.one_of(_arguments(number, number), _arguments(date, date)),
        "$multiply": st.tuples(number, _some(factor)).map(lambda pair: [pair[0], *pair[1]]),
        "$divide": _arguments(number, factor),
        "$mod": _arguments(number, number),
        **dict.fromkeys(("$abs", "$floor", "$ceil"), number),
        **dict.fromkeys(("$round", "$trunc"), st.one_of(_arguments(number), _arguments(number, place))),
        "$size": sub("array"),
        "$cmp": _arguments(sub("any"), sub("any")),
        **dict.fromkeys(("$strLenCP", "$strLenBytes"), text),
        "$strcasecmp": _arguments(text, text),
        **dict.fromkeys(("$indexOfCP", "$indexOfBytes"), index),
        "$indexOfArray": index_of_item,
        **dict.fromkeys(("$toInt", "$toLong", "$toDouble", "$toDecimal"), st.one_of(number, text, sub("any"))),
        "$dateDiff": _named(
            {"startDate": date, "endDate": end, "unit": _unit}, timezone=_zone, startOfWeek=_week_start
        ),
        **dict.fromkeys(
            (
                "$year", "$month", "$dayOfMonth", "$hour", "$minute", "$second", "$millisecond", "$dayOfWeek",
                "$dayOfYear", "$week", "$isoDayOfWeek", "$isoWeek", "$isoWeekYear",
            ),
            part,
        ),
    }  # fmt: skip


def _texts(sub: Sub) -> dict[str, Values]:
    text = sub("text")
    token = _rarely(st.sampled_from(["a", "b", "-", "é", "ab"]), text)
    count = st.sampled_from([0, 1, 2, 3, -1, 1.0, 1.5, Int64(1), None, "a", {"$strLenCP": "$s"}])
    trim = _named({"input": text}, chars=token)
    replace = _named({"input": text, "find": token, "replacement": token})
    return {
        "$concat": _some(text),
        **dict.fromkeys(("$toUpper", "$toLower"), st.one_of(text, sub("any"))),
        **dict.fromkeys(("$trim", "$ltrim", "$rtrim"), trim),
        **dict.fromkeys(("$replaceOne", "$replaceAll"), replace),
        **dict.fromkeys(("$substr", "$substrBytes", "$substrCP"), _arguments(text, count, count)),
        "$toString": st.one_of(text, sub("number"), sub("date"), sub("any")),
        "$type": _present(sub("any")).map(lambda argument: [argument]),
        "$dateToString": st.one_of(
            _named({"date": sub("date")}, onNull=text),
            _named({"date": sub("date"), "format": _format}, timezone=_zone, onNull=text),
        ),
    }


def _dates(sub: Sub) -> dict[str, Values]:
    date, amount = sub("date"), _amount
    change = _named({"startDate": date, "unit": _unit, "amount": amount}, timezone=_zone)
    part = st.sampled_from([1, 2, 12, 0, -1, 13, 29, 31, 60, Int64(5), 3.0])
    time = dict.fromkeys(("hour", "minute", "second", "millisecond"), part)
    year = st.sampled_from([1970, 2000, 2023, 2024, Int64(2025)])
    return {
        **dict.fromkeys(("$dateAdd", "$dateSubtract"), change),
        "$dateTrunc": _named(
            {"date": date, "unit": _unit},
            binSize=st.sampled_from([1, 2, 5, 10]),
            timezone=_zone,
            startOfWeek=_week_start,
        ),
        "$dateFromParts": st.one_of(
            _named({"year": year}, month=part, day=part, timezone=_zone, **time),
            _named({"isoWeekYear": year}, isoWeek=part, isoDayOfWeek=part, timezone=_zone, **time),
        ),
        "$toDate": st.one_of(date, sub("text"), sub("any")),
    }


def _bools(sub: Sub) -> dict[str, Values]:
    value = sub("any")
    return {
        **dict.fromkeys(("$eq", "$ne", "$gt", "$gte", "$lt", "$lte"), _arguments(value, value)),
        **dict.fromkeys(("$and", "$or"), _some(sub("bool"))),
        "$not": _arguments(sub("bool")),
        "$in": _arguments(_present(value), sub("array")),
        **dict.fromkeys(("$isArray", "$isNumber", "$toBool"), value.map(lambda argument: [argument])),
    }


def _arrays(sub: Sub) -> dict[str, Values]:
    array, small = sub("array"), _rarely(documents.small_numbers, sub("number"))
    count = _rarely(st.sampled_from([1, 2, 3]), small)
    this, value = sub("any", "$$this"), sub("any", "$$item")
    return {
        "$map": st.one_of(
            _named({"input": array, "in": this}), _named({"input": array, "as": st.just("item"), "in": value})
        ),
        "$filter": st.one_of(
            _named({"input": array, "cond": sub("bool", "$$this")}, limit=st.sampled_from([1, 2, 3, Int64(1), None])),
            _named({"input": array, "as": st.just("item"), "cond": sub("bool", "$$item")}),
        ),
        "$concatArrays": _some(array),
        "$reverseArray": array.map(lambda argument: [argument]),
        "$slice": st.one_of(_arguments(array, small), _arguments(array, small, count)),
        "$range": st.one_of(_arguments(small, small), _arguments(small, small, small)),
        "$objectToArray": sub("object"),
        "$split": _arguments(sub("text"), _rarely(st.sampled_from(["a", "-", "b"]), sub("text"))),
    }


def _objects(sub: Sub) -> dict[str, Values]:
    objects, value = sub("object"), sub("any")
    return {
        "$mergeObjects": st.one_of(_some(objects), sub("array")),
        "$arrayToObject": sub("array").map(lambda argument: [argument]),
        "$setField": _named({"field": _name, "input": objects, "value": value}),
        "$unsetField": _named({"field": _name, "input": objects}),
    }


def _anything(sub: Sub, kind: str) -> dict[str, Values]:
    """Expressions that can give any kind of value."""
    same, condition, array = sub(kind), sub("bool"), sub("array")
    branch = st.fixed_dictionaries({"case": condition, "then": same})
    return {
        "$cond": st.one_of(_arguments(condition, same, same), _named({"if": condition, "then": same, "else": same})),
        "$switch": _named({"branches": st.lists(branch, min_size=1, max_size=2)}, default=same),
        "$ifNull": st.lists(same, min_size=2, max_size=3),
        "$let": _named({"vars": st.fixed_dictionaries({"item": _present(field_paths)}), "in": sub(kind, "$$item")}),
        **dict.fromkeys(("$first", "$last"), array.map(lambda argument: [argument])),
        "$arrayElemAt": _arguments(array, _rarely(st.sampled_from([0, 1, -1, 5, 2.0]), sub("number"))),
        "$reduce": _named(
            {"input": array, "initialValue": _present(same), "in": _present(sub(kind, "$$this", "$$value"))}
        ),
        "$getField": st.one_of(_name, _named({"field": _name, "input": sub("object")})),
        "$convert": _named({"input": sub("any"), "to": _to}, onError=_present(same), onNull=_present(same)),
    }


_OF_KIND: dict[str, Callable[[Sub], dict[str, Values]]] = {
    "number": _numbers,
    "text": _texts,
    "date": _dates,
    "bool": _bools,
    "array": _arrays,
    "object": _objects,
}


@cache
def expressions(kind: str, depth: int = DEPTH, scope: tuple[str, ...] = ()) -> Values:
    """Expressions that mostly give values of the kind ("any": of one of the kinds)."""
    if depth == 0:
        return _leaves(kind, scope)
    if kind == "any":
        return st.one_of(_leaves(kind, scope), *(expressions(other, depth, scope) for other in _OF_KIND))

    def sub(kind: str, *variables: str) -> Values:
        return expressions(kind, depth - 1, tuple(sorted({*scope, *variables})))

    operators = {**_OF_KIND[kind](sub), **_anything(sub, kind)}
    operation = st.sampled_from(sorted(operators)).flatmap(lambda name: st.fixed_dictionaries({name: operators[name]}))
    return st.one_of(_leaves(kind, scope), operation, operation)


def _operations(kind: str) -> Values:
    """Each operator of the kind on fields and literals."""
    operators = _OF_KIND[kind](lambda kind, *variables: _leaves(kind, variables))
    return st.sampled_from(sorted(operators)).flatmap(lambda name: st.fixed_dictionaries({name: operators[name]}))


def _leaves(kind: str, scope: tuple[str, ...]) -> Values:
    own = [name for name, kind_of_field in FIELDS.items() if kind in (kind_of_field, "any")] or [*FIELDS]
    value = st.one_of(documents.numbers, documents.large_numbers) if kind == "number" else documents.KINDS[kind]
    literal = value.map(lambda found: {"$literal": found}) if kind in ("array", "object", "any") else value
    forms = [st.sampled_from(own).map("${}".format), st.sampled_from(own).map("${}".format), literal, field_paths]
    if scope:
        suffixes = st.sampled_from(["", "", ".n", ".k", ".v.n"])
        forms.append(st.tuples(st.sampled_from(scope), suffixes).map("".join))
    if kind == "object":
        forms.append(st.sampled_from(["$$ROOT", "$$CURRENT"]))
        forms.append(st.dictionaries(st.sampled_from(NAMES), _leaves("any", scope), max_size=2))
    if kind == "array":
        forms.append(st.lists(_leaves("any", scope), max_size=3))
    if kind == "any":
        forms.append(st.just("$$REMOVE"))
    return st.one_of(forms)


# Projections and pipelines

_truth = st.sampled_from([1, True, 1.0, Int64(1)])
_falsehood = st.sampled_from([0, False, 0.0])
_computed_below = _leaves("any", ()).filter(lambda found: not isinstance(found, int | float | Decimal128))
_computed = expressions("any", 2).filter(
    lambda found: (
        not isinstance(found, int | float | Decimal128 | dict)
        or (isinstance(found, dict) and any(name.startswith("$") for name in found))
    )
)


def _without_collisions(specification: dict[str, Any]) -> dict[str, Any]:
    """Leaves out paths that begin with another path."""
    return {
        path: value
        for path, value in specification.items()
        if not any(path.startswith(other + ".") for other in specification)
    }


_target_paths = paths.filter(lambda path: not any(name.isdigit() for name in path.split(".")))


def _entries(selected: Values, below: Values) -> Values:
    """Paths, or objects of paths, with what is computed or selected at each."""
    entry = _target_paths.flatmap(lambda path: st.tuples(st.just(path), below if "." in path else selected))
    nested = st.tuples(
        st.sampled_from(["o", "x"]), st.dictionaries(st.sampled_from(NAMES), below, min_size=1, max_size=2)
    )
    return st.lists(st.one_of(entry, entry, nested), min_size=1, max_size=3).map(dict).map(_without_collisions)


inclusions = st.one_of(_entries(st.one_of(_truth, _computed), _truth), _entries(_truth, _computed_below))
exclusions = st.dictionaries(_target_paths, _falsehood, min_size=1, max_size=3).map(_without_collisions)
projections = st.one_of(
    inclusions,
    inclusions,
    exclusions,
    inclusions.map(lambda found: {"_id": 0, **found}),
    exclusions.map(lambda found: {"_id": 1, **found}),
)
additions = _entries(_computed, _computed_below)

_unwind = st.one_of(
    _target_paths.map("${}".format),
    st.fixed_dictionaries(
        {"path": _target_paths.map("${}".format)},
        optional={"includeArrayIndex": st.just("i"), "preserveNullAndEmptyArrays": st.booleans()},
    ),
)
STAGES: dict[str, Values] = {
    "$match": filters(2, with_mod=False),
    "$project": projections,
    "$addFields": additions,
    "$set": additions,
    "$unset": st.one_of(_target_paths, exclusions.map(list)),
    "$unwind": _unwind,
    "$replaceRoot": expressions("object", 2).map(lambda found: {"newRoot": found}),
    "$replaceWith": expressions("object", 2),
}
_stages = st.sampled_from(sorted(STAGES)).flatmap(lambda name: st.fixed_dictionaries({name: STAGES[name]}))
pipelines = st.lists(_stages, min_size=1, max_size=4)
simple_mappings = st.fixed_dictionaries({"filter": filters(2), "projection": projections})

results = st.one_of(expressions("any"), *(_operations(kind) for kind in _OF_KIND))
"""Expressions, many with a single operator, so that each operator meets many kinds of values."""
