"""How a connection ends: WebSocket close codes and their reasons.

zero-cache treats all of them alike and comes back after 25 ms, without end (Zero:
running-state.ts). Codes and reasons are for the people who read its log. Every refusal is therefore
slow.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_REASON_BYTES = 123
"""RFC 6455: a control frame holds 125 bytes, two of them the code."""

REFUSAL_DELAY_SECONDS = 1.0
"""How long a refused connection is held before it is told so."""

RESET_DELAY_SECONDS = 2.0
"""The same before `reset-required`, after which zero-cache exits, is started again and comes
back."""

UNKNOWN_PATH = "unknown path"
NO_TOKEN = "no token"  # noqa: S105 (a reason)
FROM_BROWSER = "it comes from a browser"
"""zero-cache sends no Origin, while every browser sends one: a page must not open a stream,
whatever token it has."""
DATABASE_FAILED = "the Django database failed"
TOO_MANY_HANDSHAKES_OF_ADDRESS = "too many handshakes of the address"
TOO_MANY_REQUESTS_OF_ADDRESS = "too many requests of the address"
TOO_MANY_LOG_INS_OF_ADDRESS = "too many log-ins of the address"
TOO_MANY_LOG_INS_OF_USER = "too many log-ins with one user name"


@dataclass(frozen=True, slots=True)
class Closing:
    """A close code and its reason, cut to `MAX_REASON_BYTES`.

    `refusal` is the text under which the end is logged and counted as a refusal: the same for all
    requests, so that it holds nothing of any. It is empty if the end is no refusal.
    """

    code: int
    reason: str
    refusal: str = ""

    def __post_init__(self) -> None:
        short = self.reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
        object.__setattr__(self, "reason", short)


def snapshot_sent() -> Closing:
    return Closing(1000, "The snapshot is complete; connect again to resume.")


def not_a_websocket(code: int) -> Closing:
    """`code` is RFC 6455's: 1002 for frames, 1007 for their content."""
    if code == 1007:
        return _refusal(1007, "A message was not UTF-8, or could not be decompressed.")
    return _refusal(1002, "What came is not in the WebSocket protocol.")


def message_too_long(max_bytes: int) -> Closing:
    return _refusal(1009, f"A message was longer than {max_bytes} bytes, which is MAX_UPSTREAM_BYTES.")


def internal_error() -> Closing:
    return Closing(1011, "The change source failed; its log says why. Connect again.")


def going_away() -> Closing:
    return Closing(1012, "The server is restarting; connect again.")


def invalid_request(reason: str) -> Closing:
    return Closing(4400, reason, refusal="The request is not in the protocol.")


def invalid_message(reason: str) -> Closing:
    return Closing(4400, reason, refusal="A message is not in the protocol.")


def revoked() -> Closing:
    return _refusal(4401, "This credential or its client is no longer valid.")


def not_allowed() -> Closing:
    return _refusal(4403, "This app is not published, or this client may not read it.")


def shard_not_allowed(shard_num: int) -> Closing:
    reason = f"This client may not be shard {shard_num}; its grant says which."
    return Closing(4403, reason, refusal="This client may not be this shard; its grant says which.")


def stalled(seconds: float) -> Closing:
    return Closing(4408, f"Nothing was read or acknowledged for {seconds:.0f} seconds; connect again to resume.")


def snapshot_too_slow(bytes_per_second: int) -> Closing:
    return Closing(
        4409,
        f"The snapshot was read at less than {bytes_per_second} bytes a second (SNAPSHOT_MIN_BYTES_PER_SECOND).",
    )


def too_many_handshakes(per_minute: int) -> Closing:
    return _refusal(4429, f"This client connected more than {per_minute} times a minute (HANDSHAKES_PER_CLIENT); wait.")


def too_many_streams(at_a_time: int) -> Closing:
    return _refusal(4430, f"This client has {at_a_time} open streams already, which is STREAMS_PER_CLIENT.")


def source_unavailable() -> Closing:
    return Closing(4503, "The source cannot be read now; the change source's log says why. Connect again.")


def _refusal(code: int, reason: str) -> Closing:
    """A refusal whose reason says nothing of the request."""
    return Closing(code, reason, refusal=reason)
