"""Mappings, rules, permissions and row filters, as the text that people write."""

from __future__ import annotations

from changesource.mql.errors import MqlError
from changesource.mql.pipeline import compile_pipeline
from changesource.mql.text import normal_mapping_text, read_mapping_text
from changesource.rules.checks import permission_problems, rule_problems
from changesource.rules.syntax import parse_permissions, parse_rule
from tests.fuzzing.bounds import in_time
from tests.fuzzing.inputs import Bytes, document
from tests.rules.schema import SCOPE, app


def check(data: bytes) -> None:
    """Text is refused with `MqlError`, or has a normal form: that of the normal form is itself, and means the same.
    What is read is a mapping, a rule or permissions that work, or is refused in the same way."""
    text = data.decode(errors="surrogateescape")
    with in_time():
        try:
            specification = read_mapping_text(text)
        except MqlError as error:
            assert error.reason
            return
        normal = normal_mapping_text(text)
        assert normal_mapping_text(normal) == normal
        assert repr(read_mapping_text(normal)) == repr(specification)
        check_mapping(specification, Bytes(data[::-1]))
        for namespace in ("auth", "client"):
            check_rule(specification, namespace)
        check_permissions(text)


def check_mapping(specification: object, data: Bytes) -> None:
    try:
        mapping = compile_pipeline(specification)  # type: ignore[arg-type]
        mapping(document(data))
    except MqlError as error:
        assert error.reason


def check_rule(specification: object, namespace: str) -> None:
    try:
        rule = parse_rule(specification, namespaces=(namespace,))
    except MqlError as error:
        assert error.reason
        return
    assert all(variable.namespace == namespace for variable in rule.variables)
    for problem in rule_problems(SCOPE, SCOPE.tables["issue"], rule):
        assert problem.message


def check_permissions(text: str) -> None:
    parse_permissions(text)
    scope = type(SCOPE)(app(issue=text))
    for problem in permission_problems(scope, scope.tables["issue"]):
        assert problem.message
