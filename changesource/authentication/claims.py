"""The attributes that a client gets from the claims of its JWT."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from changesource.errors import InvalidJwtSettings

_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INT64 = range(-(2**63), 2**63)


def attribute_claims(pairs: Sequence[str]) -> dict[str, str]:
    """Attribute → claim, from pairs such as `tenant=org_id`. Raises `InvalidJwtSettings`."""
    claims = {}
    for pair in pairs:
        attribute, separator, claim = (part.strip() for part in pair.partition("="))
        if not separator or not _ATTRIBUTE.fullmatch(attribute) or not claim:
            raise InvalidJwtSettings("JWT_ATTRIBUTES has an entry that is not <attribute>=<claim>.")
        if attribute in claims:
            raise InvalidJwtSettings(f"JWT_ATTRIBUTES names the attribute {attribute} twice.")
        claims[attribute] = claim
    return claims


def attributes_of(claims: Mapping[str, Any], names: Mapping[str, str]) -> tuple[tuple[str, Any], ...]:
    """The attributes that `names` (attribute → claim) asks for. A claim gives no attribute if it is
    missing, null, an object, or otherwise a value that a row cannot be compared with."""
    return tuple((attribute, claims[claim]) for attribute, claim in names.items() if _is_comparable(claims.get(claim)))


def _is_comparable(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_comparable_scalar(member) for member in value)
    return _is_comparable_scalar(value)


def _is_comparable_scalar(value: Any) -> bool:
    """Whether MongoDB, whose integers have 64 bits, and UTF-8 can hold `value` as well."""
    match value:
        case bool():
            return True
        case int():
            return value in _INT64
        case float():
            return math.isfinite(value)
        case str():
            return not any("\ud800" <= character <= "\udfff" for character in value)
        case _:
            return False
