"""faults.py: what PyMongo's errors mean."""

from collections.abc import Sequence

import pytest
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidURI,
    NetworkTimeout,
    NotPrimaryError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from changesource.errors import ChangeSourceError, HistoryLost, SourceUnreachable, SourceUnusable
from changesource.mongo.change_stream import StreamContent, open_change_stream
from changesource.mongo.faults import explain
from changesource.mongo.source import Database, Sources, current_cluster_time
from tests.mongo.failing import fail_commands
from zerosources.embedded.servers import MongoServer


def refusal(code: int, *labels: str, name: str = "SomeName") -> OperationFailure:
    details = {"ok": 0.0, "code": code, "codeName": name, "errmsg": "secret", "errorLabels": list(labels)}
    return OperationFailure("secret", code, details)


@pytest.mark.parametrize(
    ("errmsg", "expected"),
    [
        (
            'not authorized on shop to execute command { find: "orders", filter: { name: "secret" }, $db: "shop" }',
            "may not run find on orders (",
        ),
        ("not authorized on shop to execute command { hello: 1 }", "may not run hello ("),
        ('not authorized on shop to execute command { drop: "a\nb" }', r"may not run drop on a\nb ("),
        ("secret", "may not do this ("),
    ],
)
def test_the_command_that_is_refused_is_named(errmsg: str, expected: str) -> None:
    """With its collection, and nothing else of what was sent."""
    message = str(explain(OperationFailure(errmsg, 13, {"code": 13, "codeName": "Unauthorized", "errmsg": errmsg})))
    assert expected in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        # The drivers' specification of change streams.
        (
            [6, 7, 63, 89, 91, 133, 150, 189, 234, 262, 9001, 10107, 11600, 11602, 13388, 13435, 13436],
            SourceUnreachable,
        ),
        # A cursor that is no more.
        ([43, 50, 175, 237, 239, 246, 11601], SourceUnreachable),
        ([136, 260, 280, 286], HistoryLost),
        ([1, 2, 8, 9, 13, 18, 20, 26, 40573, 10334, 1_000_000], SourceUnusable),
    ],
    ids=["interrupted", "without a cursor", "no way on", "refused"],
)
def test_codes(codes: Sequence[int], expected: type[ChangeSourceError]) -> None:
    """What is left to do after each of the server's errors."""
    assert {code: type(explain(refusal(code))) for code in codes} == dict.fromkeys(codes, expected)


@pytest.mark.parametrize(
    ("code", "name", "expected"),
    [
        (43, "CursorNotFound", SourceUnreachable),
        (89, "NetworkTimeout", SourceUnreachable),
        (91, "ShutdownInProgress", SourceUnreachable),
        (136, "CappedPositionLost", HistoryLost),
        (189, "PrimarySteppedDown", SourceUnreachable),
        (260, "InvalidResumeToken", HistoryLost),
        (262, "ExceededTimeLimit", SourceUnreachable),
        (280, "ChangeStreamFatalError", HistoryLost),
        (286, "ChangeStreamHistoryLost", HistoryLost),
        (10334, "BSONObjectTooLarge", SourceUnusable),
        (11602, "InterruptedDueToReplStateChange", SourceUnreachable),
        (13435, "NotPrimaryNoSecondaryOk", SourceUnreachable),
    ],
)
@pytest.mark.parametrize("step", ["aggregate", "getMore"])
async def test_errors_of_a_stream(
    mongo_server: MongoServer, code: int, name: str, expected: type[ChangeSourceError], step: str
) -> None:
    """What a change stream raises when the server ends it so, as it is opened or later."""
    sources = Sources({"default": mongo_server.uri("faults")})  # after some errors it trusts its server no more
    database = sources.database("default")
    start = await current_cluster_time(database)
    try:
        async with fail_commands(mongo_server, step, times=1, errorCode=code):
            with pytest.raises(expected) as raised:
                await read_two_batches(database, start)
    finally:
        await sources.close()
    assert type(raised.value) is expected, name


async def read_two_batches(database: Database, start: int) -> None:
    stream = await open_change_stream(database, StreamContent(["city"]), start, splits_large_events=False)
    for _ in range(2):
        await stream.next_batch(wait=False)


def test_resumable_by_its_label() -> None:
    """An error that says that a stream can be opened again is an interruption, whatever its code."""
    assert isinstance(explain(refusal(1_000_000, "ResumableChangeStreamError")), SourceUnreachable)


def test_not_resumable_by_its_label() -> None:
    """An error that says that a stream cannot go on is the end of its history, whatever its code."""
    assert isinstance(explain(refusal(1_000_000, "NonResumableChangeStreamError")), HistoryLost)


def test_too_large_is_never_tried_again() -> None:
    """An event that MongoDB cannot send is met again by whoever opens the stream again, label or no label."""
    assert isinstance(explain(refusal(10334, "ResumableChangeStreamError")), SourceUnusable)


@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("secret"),
        ConnectionFailure("secret"),
        NetworkTimeout("secret"),
        NotPrimaryError("secret"),
        ServerSelectionTimeoutError("secret"),
        ExecutionTimeout("secret", 50, {"code": 50}),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_answer(error: PyMongoError) -> None:
    """Everything about connections passes."""
    assert isinstance(explain(error), SourceUnreachable)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("secret"),
        InvalidURI("secret"),
        PyMongoError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors(error: PyMongoError) -> None:
    """What is neither about connections nor known is not tried again and again."""
    assert isinstance(explain(error), SourceUnusable)


@pytest.mark.parametrize(
    "error",
    [refusal(286), refusal(13), refusal(18), refusal(10334), refusal(43), refusal(99), AutoReconnect("secret")],
    ids=str,
)
def test_messages(error: PyMongoError) -> None:
    """A message names the error, and nothing that the server or the driver said: documents and hosts are in that."""
    message = str(explain(error))
    assert "secret" not in message
    assert "SomeName" in message or "AutoReconnect" in message


def test_error_without_details() -> None:
    """A refusal of which nothing is known is one all the same."""
    assert isinstance(explain(OperationFailure("secret")), SourceUnusable)
