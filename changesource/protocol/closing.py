"""How a connection ends: WebSocket close codes and their reasons.

zero-cache treats all of them alike and comes back after 25 ms, for ever (Zero: running-state.ts); codes and reasons are
for people who read its log. Every refusal is therefore slow.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_REASON_BYTES = 123
"""RFC 6455: a control frame holds 125 bytes, two of them the code."""

REFUSAL_DELAY_SECONDS = 1.0
"""How long a refused connection is held before it is told so."""


@dataclass(frozen=True, slots=True)
class Closing:
    """A close code and what happened."""

    code: int
    reason: str

    def __post_init__(self) -> None:
        short = self.reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        object.__setattr__(self, "reason", short)


def going_away() -> Closing:
    return Closing(1012, "The server is restarting; connect again.")


def internal_error() -> Closing:
    return Closing(1011, "The change source failed; its log says why. Connect again.")


def snapshot_sent() -> Closing:
    return Closing(1000, "The snapshot is complete; connect again to resume.")


def invalid_message(reason: str) -> Closing:
    return Closing(4400, reason)


def invalid_request(reason: str) -> Closing:
    return Closing(4400, reason)


def not_allowed() -> Closing:
    return Closing(4403, "This app is not published, or this client may not read it.")


def shard_not_allowed(shard_num: int) -> Closing:
    return Closing(4403, f"This client may not be shard {shard_num}; its grant says which.")


def revoked() -> Closing:
    return Closing(4401, "This credential or its client is not valid any more.")


def stalled(seconds: float) -> Closing:
    return Closing(4408, f"Nothing was read or acknowledged for {seconds:.0f} seconds; connect again to resume.")


def source_unavailable() -> Closing:
    return Closing(4503, "The source cannot be read now; the change source's log says why. Connect again.")
