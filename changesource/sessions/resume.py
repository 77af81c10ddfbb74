"""Every reason why a replica may not continue, and its zero-cache is told `reset-required`.

    when                                        asked
    ──────────────────────────────────────────  ─────────────────────────────────
    at a resume, of what is stored              `reset_at_resume`
    then, of the source                         `history_lost`, `AHEAD_OF_THE_SOURCE`
    in the stream, between two transactions     `reset_in_stream`, `reset_after`
    whenever the source is read                 `history_lost`

zero-cache then ends, starts again and takes a snapshot. A replica that continued would lack changes,
or hold rows that its client may not have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from changesource.errors import HistoryLost, SourceReplaced
from changesource.models.queries.published import PublishedApp
from changesource.models.queries.replicas import ReplicaRecord
from changesource.protocol.requests import Resume
from changesource.protocol.watermarks import Position
from changesource.publishing.client_view import ClientView
from changesource.sessions.client_access import ClientAccess


@dataclass(frozen=True, slots=True)
class Reset:
    """`reset-required` with this reason.

    `is_fault` says that no person asked for it: `/readyz` then fails until the next snapshot is
    there. `may_be_a_new_base` says that the app may have started over, which `started_over` tells: then
    its clients' access versions did too, and that may be noticed first.
    """

    reason: str
    is_fault: bool = False
    may_be_a_new_base: bool = False


NOT_REGISTERED = Reset("This replica was not built from a snapshot of this change source.")
OF_ANOTHER_CLIENT = Reset("This replica was built for another client.")
OF_ANOTHER_SCOPE = Reset(
    "This replica was built for other publications, or with other attributes of the client.", may_be_a_new_base=True
)
ACCESS_WITHOUT_A_PLACE = Reset(
    "What this client may read was changed without a place in the stream.", may_be_a_new_base=True
)
APP_IS_GONE = Reset("The app no longer exists.", may_be_a_new_base=True)
AHEAD_OF_THE_SOURCE = Reset("The replica is ahead of the source: it was built from another one.")
"""The reset for what a request says of its own position. It says nothing about the source, or about
other replicas."""


def reset_at_resume(
    replica: ReplicaRecord | None, client_id: int, published: PublishedApp, access: ClientAccess
) -> Reset | None:
    """Why the replica may not resume, by what is stored of it; None if it may.

    It must be registered, for this client, with a version since the last base, for the same
    attributes and publications, and under the access version that was in force where it began.
    Raises `UnknownVersion` if it is not known which was.
    """
    if replica is None:
        return NOT_REGISTERED
    if replica.client_id != client_id:
        return OF_ANOTHER_CLIENT
    if replica.version_number < published.base_number:
        reset = _new_base(published)
        return replace(reset, reason=f"{reset.reason} The replica has version {replica.version_number}.")
    if replica.scope != access.scope:
        return OF_ANOTHER_SCOPE
    entitlements = access.entitlements
    if not entitlements.oldest_number <= replica.access_number <= entitlements.newest_number:
        return ACCESS_WITHOUT_A_PLACE
    if access.access_number_at(Position.from_watermark(replica.replica_version)) != replica.access_number:
        return ACCESS_WITHOUT_A_PLACE  # what the replica has been shown is not known
    return None


def reset_in_stream(
    published: PublishedApp, current: PublishedApp | None, view: ClientView, access: ClientAccess
) -> Reset | None:
    """Why a stream that shows `view` may not continue, if the app was `published` when it began and
    is `current` now."""
    if current is None:
        return APP_IS_GONE
    if current.log_name != published.log_name:
        return _new_base(current)
    if view.access_number < access.entitlements.oldest_number:
        return ACCESS_WITHOUT_A_PLACE
    return None


def reset_after(position: Position, view: ClientView, access: ClientAccess) -> Reset | None:
    """Why a stream that has read everything up to `position`, and shows `view`, may not continue.

    The place of an access version has gone by without its marker. So this is not the source in
    which that was met.
    """
    return ACCESS_WITHOUT_A_PLACE if access.access_number_at(position) > view.access_number else None


def history_lost(error: HistoryLost, resume: Resume | None, replica: ReplicaRecord | None) -> Reset:
    """The reset of a connection that asked to `resume`, and met `error`.

    It is a fault if the source is another one, or if what is lost follows the newest position that
    `replica` is known to have. What came before that may well be gone by now. The replica is None
    unless it is registered for this client.
    """
    is_where_it_was = (
        resume is not None and replica is not None and resume.last_watermark.watermark >= replica.acknowledged
    )
    return Reset(str(error), is_fault=isinstance(error, SourceReplaced) or is_where_it_was)


def started_over(published: PublishedApp, current: PublishedApp | None) -> Reset | None:
    """The reset of all replicas of what was `published`, if the app has started over since."""
    if current is None or current.log_name == published.log_name:
        return None
    return _new_base(current)


def _new_base(published: PublishedApp) -> Reset:
    because = f": {published.base_reason}" if published.base_reason else ""
    return Reset(f"Version {published.base_number} of the app starts over{because}.", bool(published.base_reason))
