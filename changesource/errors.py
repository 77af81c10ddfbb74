"""The catalogue of what can go wrong, each with a code, a cause and a remedy.

Every error that this project raises on purpose is a `ChangeSourceError`. The docstring of the class is the general
statement, and its first line is the default message. The message of an instance says where (app, table, document id) and
what to do. Neither ever holds a secret or the content of a document.
"""

from __future__ import annotations

from typing import ClassVar


class ChangeSourceError(Exception):
    """The change source failed."""

    code: ClassVar[str] = "CS000"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])

    def __str__(self) -> str:
        return f"{self.code}: {self.args[0]}"


class UnknownSource(ChangeSourceError):
    """An app names a source that has no URI. Set MONGODB_URI (source `default`) or MONGODB_URI_<NAME>."""

    code = "CS101"


class SourceUnusable(ChangeSourceError):
    """The MongoDB deployment cannot serve a change stream. The message names the reason and the remedy."""

    code = "CS102"


class SourceReadOnly(SourceUnusable):
    """The user of the source's URI may not write markers. Grant it insert and update on zero_sources_markers."""


class SourceUnreachable(ChangeSourceError):
    """MongoDB did not answer. Check the URI, the network and that the server runs; work continues when it answers."""

    code = "CS103"

    @classmethod
    def after(cls, seconds: float) -> SourceUnreachable:
        """The error for a request that had no answer within `seconds`."""
        return cls(f"MongoDB did not answer within {seconds:.0f} seconds.")


class HistoryLost(ChangeSourceError):
    """The change stream no longer reaches back to the requested position, so only a new snapshot helps.
    Give the oplog more room if this happens again."""

    code = "CS104"


class SourceReplaced(HistoryLost):
    """The database behind the URI is not the one that was read before, or was set back. Replicas are built again."""

    code = "CS106"


class SourceInDoubt(SourceUnusable):
    """The database behind the URI is another one again, soon after the app started over by itself for such a reason.
    A person has to decide: manage.py publish APP --reset."""

    code = "CS107"


class BarrierNotSeen(ChangeSourceError):
    """A marker that was written to the source did not come back in its change stream in time."""

    code = "CS105"


class InvalidDefinition(ChangeSourceError):
    """An app's tables cannot be published as they are. The message names each problem at its place."""

    code = "CS201"


class ClientsCutOff(InvalidDefinition):
    """Row filters of clients could not be evaluated after this publish, so nothing was published.
    The clients are named to users who may view clients."""


class InvalidSchemaFile(ChangeSourceError):
    """A schema file is not in Zero's JSON form. The message names the place."""

    code = "CS202"


class MappingRefused(ChangeSourceError):
    """A mapping cannot be compiled, or cannot be computed for a document. The message names the place."""

    code = "CS203"


class UnknownVersion(ChangeSourceError):
    """An app has no published version for a position. Publish it, or ask for a new snapshot."""

    code = "CS204"


class PublishUnderWay(ChangeSourceError):
    """Another user is publishing this app right now. Look at what was published, and publish again."""

    code = "CS205"


class DraftChanged(ChangeSourceError):
    """The draft, or the published version, has changed since it was reviewed. Review the difference again."""

    code = "CS206"


class InvalidClaims(ChangeSourceError):
    """Claims are not a JSON object, or a token is not a JWT. The message repeats nothing of them."""

    code = "CS207"


class TrialBeyondLimits(ChangeSourceError):
    """A preview or a trial exceeded its time, memory or output. Narrow the mapping or the filter."""

    code = "CS208"


class TrialsBusy(ChangeSourceError):
    """Too many previews and trials are running. Try again in a few seconds."""

    code = "CS209"


class TrialFailed(ChangeSourceError):
    """A preview or a trial failed; the log of the server says why. Streams are not affected."""

    code = "CS210"


class LogMismatch(ChangeSourceError):
    """The change log does not end where this writer left it: another process wrote to it, or its tail was lost."""

    code = "CS301"


class LogUnavailable(ChangeSourceError):
    """The change log did not answer. Streams continue from MongoDB; the log refills when it is back."""

    code = "CS302"


class LeaseLost(ChangeSourceError):
    """Another watcher leads now."""

    code = "CS303"


class InvalidWatermark(ChangeSourceError):
    """A watermark is not the LexiVersion of a position."""

    code = "CS401"


class InvalidRequest(ChangeSourceError):
    """The query parameters of the stream's URL are not those that zero-cache sends."""

    code = "CS402"


class InvalidUpstreamMessage(ChangeSourceError):
    """A message from zero-cache is not in the protocol."""

    code = "CS403"


class InvalidTransform(ChangeSourceError):
    """A request for named queries is not in the protocol. The message names the place and repeats nothing of the request."""

    code = "CS404"

    def __init__(self, message: str, query_ids: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.query_ids = query_ids
        """The ids of the queries that could be read: only their clients are told."""


class TokenRefused(ChangeSourceError):
    """A token opens no stream. The message says why, for our own log, and repeats nothing of the token."""

    code = "CS601"

    def __init__(self, reason: str, client: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.client = client
        """The name of the client that it belongs to, if known."""


class InvalidJwtSettings(ChangeSourceError):
    """The settings for JWTs cannot be used as they are. The message names the setting and repeats nothing of its value."""

    code = "CS602"


class CallerRefused(ChangeSourceError):
    """What a user presented proves nothing. The message says why, for our own log, and repeats nothing of it."""

    code = "CS604"


class DeploymentRefused(ChangeSourceError):
    """A zero-cache asks for what its client may not have, or without the names of its app and shard."""

    code = "CS605"


class InvalidUserAuthentication(ChangeSourceError):
    """USER_AUTHENTICATION names something that cannot tell who a user is. The message names the path."""

    code = "CS606"


class KeysUnavailable(ChangeSourceError):
    """The keys at a JWKS URL could not be fetched. Known keys stay in use; check whether the URL answers."""

    code = "CS603"


class TooManyStreams(ChangeSourceError):
    """A client already has as many open streams as it may have. Close one, or raise STREAMS_PER_CLIENT."""

    code = "CS701"
