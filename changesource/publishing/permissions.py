"""The row-level permissions of an app, as zero-cache reads them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from changesource.protocol.frames import PermissionsRow
from changesource.rules.checks import RuleScope, has_all_tables
from changesource.rules.syntax import Rule, parse_permissions
from changesource.rules.zero_condition import NOBODY, any_of, zero_condition
from changesource.tables.definition import AppDefinition, Table


def permissions_row_of(definition: AppDefinition) -> PermissionsRow:
    """The row that zero-cache reads. Equal rules have the same text and hash, and others have another
    hash."""
    permissions = compile_permissions(definition)
    if permissions is None:
        return PermissionsRow()
    text = json.dumps(permissions, ensure_ascii=False, separators=(",", ":")) + _blanks_for(definition)
    return PermissionsRow(text, hashlib.sha256(text.encode()).hexdigest())


def _blanks_for(definition: AppDefinition) -> str:
    """White space that changes with the named queries of an app, and means nothing. zero-cache asks for named queries again
    when the text of its permissions changes."""
    if not definition.queries:
        return ""
    digest = hashlib.sha256(json.dumps(dict(definition.queries), sort_keys=True).encode()).digest()
    return "".join(" \t\r\n"[byte >> shift & 3] for byte in digest[:4] for shift in (6, 4, 2, 0))


def compile_permissions(definition: AppDefinition) -> dict[str, Any] | None:
    """Zero's permissions (zero-schema/compiled-permissions.ts) of a definition without problems;
    None if no table has rules.

    Nobody may take an action without rules, in zero-cache too. A rule that asks for a table which
    does not exist allows nobody either: the definition may be the part that a client sees.
    """
    scope = RuleScope(definition)
    tables = {table.server_name: {"row": _actions(scope, table)} for table in definition.tables if table.permissions}
    return {"tables": tables} if tables else None


def _actions(scope: RuleScope, table: Table) -> dict[str, Any]:
    rules = parse_permissions(table.permissions).rules
    compiled = {action: _policy(scope, table, rules[action]) for action in rules}
    return {
        "select": compiled["select"],
        "insert": compiled["insert"],
        "update": {"preMutation": compiled["update.before"], "postMutation": compiled["update.after"]},
        "delete": compiled["delete"],
    }


def _policy(scope: RuleScope, table: Table, rules: Iterable[Rule]) -> list[list[Any]]:
    conditions = [zero_condition(scope, table, rule) for rule in rules if has_all_tables(scope, table, rule.filter)]
    return [["allow", condition] for condition in any_of([one for one in conditions if one != NOBODY])]
