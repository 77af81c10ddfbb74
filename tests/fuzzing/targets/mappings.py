"""Mappings, filters and rules from bytes, and the documents and rows to which they are applied."""

from __future__ import annotations

import orjson
from bson import json_util

from changesource.errors import MappingRefused
from changesource.mql.budget import Budget
from changesource.mql.errors import MqlError
from changesource.mql.expressions import WHOLE_DOCUMENT
from changesource.mql.filters import compile_filter, compile_predicate, filter_fields, parse_filter
from changesource.mql.nesting import check_nesting
from changesource.mql.pipeline import compile_pipeline
from changesource.mql.text import normal_mapping_text, read_mapping_text
from changesource.rules.checks import rule_problems
from changesource.rules.matching import bound, rows_in, rule_matches
from changesource.rules.query import find_query
from changesource.rules.syntax import parse_rule
from changesource.rules.zero_condition import zero_condition
from changesource.tables.compiled_table import CompiledTable
from changesource.tables.definition import Column, Table
from changesource.tables.row_errors import RowError
from tests.fuzzing import specifications
from tests.fuzzing.bounds import in_time
from tests.fuzzing.inputs import Bytes, document
from tests.rules.schema import ROWS, SCOPE

MAX_DOCUMENTS = 10_000
NEEDED = frozenset({"a", "items"})
COLUMNS = (
    Column("_id", "string"),
    Column("a", "json", optional=True),
    Column("b", "string", optional=True),
    Column("items", "number", optional=True),
)
CLAIMS = {"sub": "u1", "org": {"name": "u2"}, "level": 1, "staff": True, "names": ["u1", "a"], "tenant": "a"}


def check(data: bytes) -> None:
    """The first byte says which kind of thing is built."""
    source = Bytes(data)
    checks = (check_mapping, check_table, check_filter, check_rule)
    with in_time():
        checks[source.byte() % len(checks)](source)


def check_mapping(data: Bytes) -> None:
    """A mapping is refused with `MqlError`, or gives documents, or fails with `MqlError`; its text means the
    same; and cut down to some fields, these are what they were."""
    specification = specifications.mapping(data)
    try:
        mapping = compile_pipeline(specification)
    except MqlError as error:
        assert error.reason
        return
    check_text(specification)
    source = document(data)
    try:
        found = mapping(source)
    except MqlError as error:
        assert error.reason
        mapping.run_leniently(source)
        return
    assert len(found) <= MAX_DOCUMENTS
    assert repr(mapping.run_leniently(source)) == repr((found, []))
    needed, reads = mapping.needed_for(NEEDED)
    given = source if WHOLE_DOCUMENT in reads else {name: value for name, value in source.items() if name in reads}
    cut = needed(given)
    assert [only(NEEDED, row) for row in cut] == [only(NEEDED, row) for row in found]


def check_table(data: Bytes) -> None:
    """A table whose mapping can be compiled gives rows, which are JSON, or row errors, for any document."""
    text = json_util.dumps(specifications.mapping(data))
    try:
        table = CompiledTable(Table("items", COLUMNS, ("_id",), mapping=text))
    except MappingRefused as error:
        assert str(error)
        return
    errors: list[RowError] = []
    source = document(data)
    for row in table.rows(source, errors):
        assert row.keys() == {column.name for column in COLUMNS}
        orjson.dumps(row)
    if not table.needs_pre_images:
        table.key(source["_id"])
    assert all(error.reason for error in errors)


def check_filter(data: Bytes) -> None:
    """A filter is refused with `MqlError`, or matches or not, or fails with `MqlError`; and asks for no other fields
    than it says."""
    specification = specifications.filter(data)
    try:
        check_nesting(specification)
        matches = compile_filter(specification)
    except MqlError as error:
        assert error.reason
        return
    check_text(specification)
    source = document(data)
    try:
        found = matches(source)
    except MqlError as error:
        assert error.reason
        return
    assert isinstance(found, bool)
    parsed = parse_filter(specification)
    reads = filter_fields(parsed)
    if WHOLE_DOCUMENT not in reads:
        few = {name: value for name, value in source.items() if name in reads}
        assert compile_predicate(parsed)(few, Budget()) == found


def check_rule(data: Bytes) -> None:
    """A rule is refused with `MqlError`, or has problems, or works in each of its forms."""
    namespace = data.choose(("auth", "client"))
    specification = specifications.rule(data, namespace)
    try:
        rule = parse_rule(specification, namespaces=(namespace,))
    except MqlError as error:
        assert error.reason
        return
    table = SCOPE.tables["issue"]
    if problems := list(rule_problems(SCOPE, table, rule)):
        assert all(str(problem) for problem in problems)
        return
    for row in ROWS["issue"][:: 1 + data.byte()]:
        assert isinstance(rule_matches(SCOPE, table, rule, row, CLAIMS, rows_in(ROWS)), bool)
    try:
        find_query(table, bound(rule, CLAIMS))
    except MqlError as error:
        assert error.reason
    if namespace == "auth":
        orjson.dumps(zero_condition(SCOPE, table, rule))


def check_text(specification: object) -> None:
    """Written as text and read again it means the same, in the normal form as well."""
    if not isinstance(specification, dict):
        return
    try:
        text = json_util.dumps(specification)
        normal = normal_mapping_text(text)
    except (ValueError, MqlError):
        return  # what has no text: lone surrogates, U+0000, dates out of range, a name twice
    assert normal_mapping_text(normal) == normal
    assert repr(read_mapping_text(normal)) == repr(read_mapping_text(text))


def only(names: frozenset[str], row: object) -> str:
    assert isinstance(row, dict)
    return repr({name: row[name] for name in sorted(names) if name in row})
