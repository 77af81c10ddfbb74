"""Zero's change source protocol v0, upstream: the messages that zero-cache sends."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from changesource.errors import InvalidUpstreamMessage, InvalidWatermark
from changesource.protocol.watermarks import Position

MAX_MESSAGE_BYTES = 65_536
"""zero-cache sends acknowledgements of some 70 bytes."""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """zero-cache has stored everything up to `position`. When it is busy, it acknowledges only the
    newest position."""

    position: Position


def parse_upstream(message: str | bytes) -> Acknowledgement | None:
    """The acknowledgement in `["status", payload, {"watermark": W}]`. None for other well-formed
    messages, which a newer zero-cache may send. Raises `InvalidUpstreamMessage` for a message that
    is not well-formed."""
    if len(message) > MAX_MESSAGE_BYTES:
        raise InvalidUpstreamMessage(f"A message of more than {MAX_MESSAGE_BYTES} bytes.")
    try:
        parsed = orjson.loads(message)
    except ValueError as error:
        raise InvalidUpstreamMessage("A message that is not JSON.") from error
    if not isinstance(parsed, list) or not parsed or not isinstance(parsed[0], str):
        raise InvalidUpstreamMessage("A message that is not an array with a tag in front.")
    if parsed[0] != "status":
        return None
    if len(parsed) != 3 or not isinstance(parsed[2], dict) or not isinstance(parsed[2].get("watermark"), str):
        raise InvalidUpstreamMessage("A status without a watermark.")
    try:
        return Acknowledgement(Position.from_watermark(parsed[2]["watermark"]))
    except InvalidWatermark as error:
        raise InvalidUpstreamMessage(f"A status: {error.args[0]}") from error
