"""Rules as Zero's conditions, which zero-cache adds to the queries that clients define themselves.

Zero's conditions follow SQL: a comparison with null is never true, not even a negated one (zql/builder/filter.ts). In
MongoDB, the negation of a comparison is true of everything else, including null. Negations are therefore moved inwards to the
comparisons, where "or null" is added. All names are those of the replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from changesource.mql import (
    And,
    Compare,
    ElemMatchValue,
    Exists,
    Filter,
    In,
    MatchesPattern,
    Nor,
    Not,
    Or,
    Related,
    Variable,
    VariableCondition,
)
from changesource.rules.checks import RuleScope, why_not_literal
from changesource.rules.patterns import like_pattern
from changesource.rules.syntax import NAMESPACE, Rule
from changesource.tables.definition import Column, Table
from changesource.tables.relationships import Connection

Condition = dict[str, Any]
"""Zero: zero-protocol/ast.ts, `conditionSchema`."""

EVERYBODY: Final[Condition] = {"type": "and", "conditions": []}
NOBODY: Final[Condition] = {"type": "or", "conditions": []}

_OPPOSITES: Final = {"=": "!=", "<": ">=", "<=": ">", ">": "<=", ">=": "<", "LIKE": "NOT LIKE", "IN": "NOT IN"}
_ORDER: Final = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}


def any_of(conditions: Sequence[Condition]) -> list[Condition]:
    """`conditions` in a form that zero-cache can join by OR: no EXISTS under an OR may become a flipped join.

    In zero-cache 1.9.0, an OR with a flipped join drops changes (docs/permissions.md, "A fault of zero-cache"), so that a row
    could stay visible that no rule allows any longer. The planner does not flip a join whose `flip` is given
    (planner-builder.ts).
    """
    return [without_flips(condition, under_or=len(conditions) > 1) for condition in conditions]


def without_flips(condition: Condition, *, under_or: bool = False) -> Condition:
    """`condition` with `flip: false` on each EXISTS under an OR, as `any_of` explains, and on each NOT EXISTS that asks for a
    flip: where the planner is switched off, zero-cache would make an EXISTS of it (builder.ts, `applyFilterWithFlips`)."""
    if condition["type"] == "simple":
        return condition
    match condition:
        case {"type": "and" | "or" as kind, "conditions": parts}:
            under_or = under_or or (kind == "or" and len(parts) > 1)
            return {**condition, "conditions": [without_flips(part, under_or=under_or) for part in parts]}
        case {"type": "correlatedSubquery", "op": op, "related": {"subquery": subquery} as related}:
            if "where" in subquery:
                subquery = {**subquery, "where": without_flips(subquery["where"])}
            unflipped = {**condition, "related": {**related, "subquery": subquery}}
            must_not = under_or if op == "EXISTS" else condition.get("flip") is True
            return {**unflipped, "flip": False} if must_not else unflipped
        case _:
            return condition


def zero_condition(scope: RuleScope, table: Table, rule: Rule) -> Condition:
    """The condition of `rule`, which has no problems; `NOBODY` for a rule that no row passes.

    It begins with the claims that the caller must have. Otherwise a comparison with a missing claim could be true, as `!=`
    with "or null" is.
    """
    needed = [_simple("IS NOT", _static(variable), _literal(None)) for variable in rule.variables]
    return all_of([*needed, _condition(scope, table, rule.filter, negated=False)])


def _condition(scope: RuleScope, table: Table, filter: Filter, *, negated: bool) -> Condition:
    match filter:
        case And(members):
            parts = [_condition(scope, table, member, negated=negated) for member in members]
            return either(parts) if negated else all_of(parts)
        case Or(members):
            parts = [_condition(scope, table, member, negated=negated) for member in members]
            return all_of(parts) if negated else either(parts)
        case Nor(members):
            return _condition(scope, table, Or(members), negated=not negated)
        case Not(member):
            return _condition(scope, table, member, negated=not negated)
        case Related():
            return _related(scope, table, filter, negated=negated)
        case VariableCondition(variable, condition):
            return _claim(_static(variable), condition, negated=negated)
        case Compare((name,)) | In((name,)) | MatchesPattern((name,)):
            column = scope.column(table, name)
            if column is None:
                raise TypeError(f"there is no column {name!r}")
            return _column(column, filter, negated=negated)
        case _:
            raise TypeError(f"{type(filter).__name__} is not in a rule without problems")


# Columns


def _column(column: Column, filter: Filter, *, negated: bool) -> Condition:
    value = {"type": "column", "name": column.server_name}
    match filter:
        case MatchesPattern(_, pattern):
            return _comparison(value, "LIKE", _literal(like_pattern(pattern)), column.optional, negated=negated)
        case In(_, Variable() as variable, _):
            return _comparison(value, "IN", _static(variable), column.optional, negated=negated)
        case In(_, tuple() as values, _):
            fitting = [member for member in values if _fits(column, member)]
            return _membership(value, fitting, column.optional, negated=negated)
        case Compare(_, operator, operand):
            if not _fits(column, operand):
                return EVERYBODY if negated else NOBODY
            return _ordered(value, operator, operand, column.optional, negated=negated)
        case _:
            raise TypeError(f"{type(filter).__name__} is not about a column")


def _fits(column: Column, operand: Any) -> bool:
    """Whether the column may hold `operand`, which a claim of the caller may have given. If not, no comparison holds, as in
    MongoDB. To SQLite, every text is greater than every number, and the number 5 equals the text "5" of a column."""
    return operand is None or isinstance(operand, Variable) or not why_not_literal(column.type, operand)


def _ordered(value: Condition, operator: str, operand: Any, may_be_null: bool, *, negated: bool) -> Condition:
    if operand is None:
        if operator in ("$lt", "$gt"):
            return EVERYBODY if negated else NOBODY
        return _null(value, negated=negated)
    right = _static(operand) if isinstance(operand, Variable) else _literal(operand)
    return _comparison(value, _ORDER.get(operator, "="), right, may_be_null, negated=negated)


def _comparison(value: Condition, operator: str, right: Condition, may_be_null: bool, *, negated: bool) -> Condition:
    if not negated:
        return _simple(operator, value, right)
    opposite = _simple(_OPPOSITES[operator], value, right)
    return either([opposite, _null(value)]) if may_be_null else opposite


def _membership(value: Condition, values: Sequence[Any], may_be_null: bool, *, negated: bool) -> Condition:
    named = [member for member in values if isinstance(member, Variable)]
    literals = [member for member in values if member is not None and not isinstance(member, Variable)]
    parts = [_ordered(value, "$eq", member, may_be_null, negated=negated) for member in named]
    if literals:
        parts.append(_comparison(value, "IN", _literal(literals), may_be_null, negated=negated))
    if None in values:
        parts.append(_null(value, negated=negated))
    return all_of(parts) if negated else either(parts)


# Claims


def _claim(value: Condition, filter: Filter, *, negated: bool) -> Condition:
    """A condition on a claim. The rule already requires the claim, unless `filter` only asks whether it is present."""
    match filter:
        case And(members):
            parts = [_claim(value, member, negated=negated) for member in members]
            return either(parts) if negated else all_of(parts)
        case Not(member):
            return _claim(value, member, negated=not negated)
        case Exists():
            return _null(value, negated=not negated)
        case Compare(_, operator, operand):
            return _ordered(value, operator, operand, may_be_null=False, negated=negated)
        case In(_, tuple() as values, _):
            return _membership(value, values, may_be_null=False, negated=negated)
        case ElemMatchValue(_, Compare(_, "$eq", operand)):
            return _simple("NOT IN" if negated else "IN", _literal(operand), value)
        case ElemMatchValue(_, In(_, tuple() as values, _)):
            parts = [_simple("NOT IN" if negated else "IN", _literal(member), value) for member in values]
            return all_of(parts) if negated else either(parts)
        case _:
            raise TypeError(f"{type(filter).__name__} is not in a rule without problems")


# Related rows


def _related(scope: RuleScope, table: Table, filter: Related, *, negated: bool) -> Condition:
    relationship = scope.relationship(table, filter.relationship)
    if relationship is None:
        raise TypeError(f"there is no relationship {filter.relationship!r}")
    destination = scope.tables[relationship.destination]
    condition = _condition(scope, destination, filter.filter, negated=False)
    if condition == NOBODY:
        return EVERYBODY if negated else NOBODY
    *junctions, last = _with_sources(scope, table, relationship.connections)
    exists = _exists(scope, *last, condition, f"zsubq_{relationship.name}")
    for source, connection in reversed(junctions):
        exists = _exists(scope, source, connection, exists, f"zsubq_{relationship.name}_junction")
    return {**exists, "op": "NOT EXISTS"} if negated else exists


def _with_sources(scope: RuleScope, table: Table, connections: Sequence[Connection]) -> list[tuple[Table, Connection]]:
    sources = [table, *(scope.tables[connection.destination] for connection in connections)]
    return list(zip(sources, connections, strict=False))


def _exists(scope: RuleScope, source: Table, connection: Connection, condition: Condition, alias: str) -> Condition:
    destination = scope.tables[connection.destination]
    subquery: Condition = {"table": destination.server_name, "alias": alias}
    if condition != EVERYBODY:
        subquery["where"] = condition
    correlation = {
        "parentField": list(source.server_names(connection.source_columns)),
        "childField": list(destination.server_names(connection.destination_columns)),
    }
    related = {"system": "permissions", "correlation": correlation, "subquery": subquery}
    return {"type": "correlatedSubquery", "op": "EXISTS", "related": related}


# Parts


def all_of(parts: Sequence[Condition]) -> Condition:
    """All of `parts` hold, without those that always do."""
    parts = [part for part in parts if part != EVERYBODY]
    if NOBODY in parts:
        return NOBODY
    return parts[0] if len(parts) == 1 else {"type": "and", "conditions": parts}


def either(parts: Sequence[Condition]) -> Condition:
    """One of `parts` holds, without those that never do."""
    parts = [part for part in parts if part != NOBODY]
    if EVERYBODY in parts:
        return EVERYBODY
    return parts[0] if len(parts) == 1 else {"type": "or", "conditions": parts}


def _null(value: Condition, *, negated: bool = False) -> Condition:
    return _simple("IS NOT" if negated else "IS", value, _literal(None))


def _simple(operator: str, left: Condition, right: Condition) -> Condition:
    return {"type": "simple", "op": operator, "left": left, "right": right}


def _literal(value: Any) -> Condition:
    return {"type": "literal", "value": value}


def _static(variable: Variable) -> Condition:
    field = variable.path[0] if len(variable.path) == 1 else list(variable.path)
    # zero-cache knows the anchor authData alone; what is traced of a named query never gets there.
    return {
        "type": "static",
        "anchor": "authData" if variable.namespace == NAMESPACE else variable.namespace,
        "field": field,
    }
