"""Publishes while everything else happens: optional columns and indexes come and go in tables of every kind."""

from __future__ import annotations

import copy
from typing import Any

from tests.faults.fault import Fault, Part
from tests.faults.system import System
from tests.faults.tables import JSON_OR_NULL, MAPPINGS, NUMBER_OR_NULL, SCHEMA, TEXT_OR_NULL

COLUMNS: tuple[dict[str, dict[str, Any]], ...] = (
    {"accounts": {"state": TEXT_OR_NULL}, "orders": {"lines": JSON_OR_NULL}, "open_accounts": {"n": NUMBER_OR_NULL}},
    {"accounts": {"touched": NUMBER_OR_NULL}, "papers": {"text": TEXT_OR_NULL}, "chats": {"title2": TEXT_OR_NULL}},
    {},
)
"""Of the versions that follow each other, by table: beside those of `SCHEMA`."""

INDEXES: tuple[dict[str, list[list[str]]], ...] = (
    {"accounts": [["name", "n"], ["state"]], "orders": [["tenant"]], "members": [["user"]]},
    {"accounts": [["n"], ["name", "n"]], "orders": [["tenant", "amount"]], "lines": [["sku"]]},
    {"papers": [["done"]]},
)
"""Of the same versions."""


class Publish(Fault):
    """The next version. It breaks nothing, and is met by whatever is broken; but what publishes needs MongoDB."""

    parts = frozenset({Part.MONGO, Part.MONGO_NETWORK, Part.MARKERS})
    name = "publish"
    hold_seconds = 0.0

    def inject(self, system: System) -> None:
        schema, mappings = version(system.publishes)
        system.publishes += 1
        system.deployment.publish(schema, mappings)

    def heal(self, system: System) -> None:
        """Nothing is left to undo."""


def version(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The schema and the mappings of one of the versions, which follow each other in a circle."""
    schema, mappings = copy.deepcopy(SCHEMA), copy.deepcopy(MAPPINGS)
    place = number % len(COLUMNS)
    for name, columns in COLUMNS[place].items():
        schema["tables"][name]["columns"] |= columns
    for name in schema["tables"]:
        schema["tables"][name]["indexes"] = INDEXES[place].get(name, [])
    return schema, mappings
