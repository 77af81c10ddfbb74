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
from changesource.mongo.faults import as_source_error
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
    """With its collection, and nothing else of the request."""
    message = str(
        as_source_error(OperationFailure(errmsg, 13, {"code": 13, "codeName": "Unauthorized", "errmsg": errmsg}))
    )
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
        # A cursor that no longer exists.
        ([43, 50, 175, 237, 239, 246, 11601], SourceUnreachable),
        ([136, 260, 280, 286], HistoryLost),
        ([1, 2, 8, 9, 13, 18, 20, 26, 40573, 10334, 1_000_000], SourceUnusable),
    ],
    ids=["interrupted", "without a cursor", "no way on", "refused"],
)
def test_each_error_code_means_retry_start_over_or_give_up(
    codes: Sequence[int], expected: type[ChangeSourceError]
) -> None:
    assert {code: type(as_source_error(refusal(code))) for code in codes} == dict.fromkeys(codes, expected)


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
async def test_a_change_stream_raises_what_its_errors_mean(
    mongo_server: MongoServer, code: int, name: str, expected: type[ChangeSourceError], step: str
) -> None:
    """When it is opened, and later."""
    sources = Sources({"default": mongo_server.uri("faults")})  # after some errors it no longer trusts its server
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


def test_an_error_labelled_resumable_is_an_interruption() -> None:
    """Whatever its code is."""
    assert isinstance(as_source_error(refusal(1_000_000, "ResumableChangeStreamError")), SourceUnreachable)


def test_an_error_labelled_not_resumable_is_the_end_of_history() -> None:
    """Whatever its code is."""
    assert isinstance(as_source_error(refusal(1_000_000, "NonResumableChangeStreamError")), HistoryLost)


def test_too_large_is_never_tried_again() -> None:
    """A stream that is opened again meets the same event, whatever the label says."""
    assert isinstance(as_source_error(refusal(10334, "ResumableChangeStreamError")), SourceUnusable)


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
def test_every_error_of_a_connection_is_an_interruption(error: PyMongoError) -> None:
    assert isinstance(as_source_error(error), SourceUnreachable)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("secret"),
        InvalidURI("secret"),
        PyMongoError("secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unknown_errors_are_not_retried(error: PyMongoError) -> None:
    assert isinstance(as_source_error(error), SourceUnusable)


@pytest.mark.parametrize(
    "error",
    [refusal(286), refusal(13), refusal(18), refusal(10334), refusal(43), refusal(99), AutoReconnect("secret")],
    ids=str,
)
def test_a_message_names_the_error_and_quotes_nothing(error: PyMongoError) -> None:
    """What the server or the driver says may hold documents and hosts."""
    message = str(as_source_error(error))
    assert "secret" not in message
    assert "SomeName" in message or "AutoReconnect" in message


def test_a_refusal_without_details_is_a_refusal() -> None:
    assert isinstance(as_source_error(OperationFailure("secret")), SourceUnusable)
