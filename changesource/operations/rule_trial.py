"""Trials of a draft's rules: what a caller with given claims may do with the first documents of a
table."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from changesource.errors import InvalidClaims
from changesource.models import App
from changesource.models.draft import draft_definition
from changesource.mql import StrictJSONDecoder
from changesource.operations.preview import trial_request
from changesource.trials.process import TrialAnswer, run_trial


def try_rules(app: App, table_name: str, action: str, claims: Mapping[str, Any], limit: int) -> TrialAnswer:
    """The rows of the first `limit` documents of the table, and whether the rules of `action` allow
    a caller with `claims` to touch them; see `trials.rules.tried_rows`. Raises what
    `operations.preview.preview_table` raises."""
    request = trial_request(draft_definition(app), table_name, limit)
    return run_trial({"trial": "rules", **request, "action": action, "claims": claims})


def read_claims(text: str) -> dict[str, Any]:
    """Claims written as a JSON object. Raises `InvalidClaims`, whose message repeats nothing of the
    text."""
    try:
        claims = json.loads(text, cls=StrictJSONDecoder)
    except json.JSONDecodeError as error:
        raise InvalidClaims(f"This is not JSON: line {error.lineno}, column {error.colno}: {error.msg}.") from None
    if not isinstance(claims, dict):
        raise InvalidClaims("Write claims as a JSON object: {…}.")
    return claims


def claims_of_token(token: str) -> dict[str, Any]:
    """The claims of a JWT. Neither its signature nor its times are checked. Raises `InvalidClaims`,
    whose message repeats nothing of the token."""
    parts = token.strip().split(".")
    if len(parts) != 3:
        raise InvalidClaims("A JWT has three parts, separated by dots. Paste the whole token.")
    try:
        payload = parts[1] + "=" * (-len(parts[1]) % 4)
        return read_claims(base64.b64decode(payload, altchars=b"-_", validate=True).decode())
    except (ValueError, InvalidClaims):  # base64, UTF-8, JSON
        raise InvalidClaims("The middle part of this token is not a JSON object in base64url. Paste a JWT.") from None
