"""Documents of the markers' collection, in which anybody may write who may write to the source."""

from __future__ import annotations

import re
from typing import Any

from changesource.log.entries import pack_nonces, unpack_nonces
from changesource.mongo.events import ChangeEvent, Operation
from changesource.mongo.markers import (
    MARKERS_COLLECTION,
    MAX_VERSION_NUMBER,
    access_marker_of,
    nonce_of,
    publish_marker_of,
)
from tests.fuzzing.bounds import in_time
from tests.fuzzing.inputs import Bytes, bson_value

APP = "shop"
HEX = re.compile(r"[0-9a-f]{32}")
NONCE = "0123456789abcdef" * 2
PIECES = (
    "access",
    ":",
    "1",
    "7",
    "aa",
    " ",
    "x",
    "\n",
    NONCE,
    APP,
    "9" * 20,
    "publish",
    "barrier",
    "heartbeat",
    "0",
    "é",
)


def check(data: bytes) -> None:
    """A document is a marker of one kind at most, in every part as we would have written it; and what the log keeps of it is
    read again as it was."""
    source = Bytes(data)
    with in_time():
        event = event_of(source)
        nonce, publish, access = nonce_of(event, APP), publish_marker_of(event, APP), access_marker_of(event, APP)
    assert [nonce, publish, access].count(None) >= 2
    if nonce is None and publish is None and access is None:
        return
    assert event.document is not None
    assert event.document["app"] == APP
    assert event.operation == "upsert"
    assert event.collection == MARKERS_COLLECTION
    assert not event.in_transaction
    if nonce is not None:
        assert HEX.fullmatch(nonce)
        assert event.document["_id"] in (f"barrier:{APP}", f"heartbeat:{APP}")
        assert unpack_nonces(pack_nonces([nonce, NONCE, nonce])) == (nonce, NONCE, nonce)
    if publish is not None:
        assert type(publish.number) is int
        assert 0 < publish.number <= MAX_VERSION_NUMBER
        assert HEX.fullmatch(publish.nonce)
        assert event.document["_id"] == f"publish:{APP}"
    if access is not None:
        assert access.client_id > 0
        assert HEX.fullmatch(access.nonce)
        assert event.document["nonce"] == access.text
        assert event.document["_id"] == f"access:{access.client_id}:{APP}"


def event_of(data: Bytes) -> ChangeEvent:
    """Mostly one that could be a marker's."""
    operations: tuple[Operation, ...] = ("upsert", "upsert", "upsert", "delete", "drop")
    document = None if data.byte() % 16 == 15 else document_of(data)
    return ChangeEvent(
        operation=data.choose(operations),
        collection=MARKERS_COLLECTION if data.byte() % 16 else "others",
        document_id=None if document is None else document.get("_id"),
        document=document,
        cluster_time=1 << 32,
        in_transaction=data.byte() % 16 == 15,
        wall_time_ms=0,
    )


def document_of(data: Bytes) -> dict[str, Any]:
    document: dict[str, Any] = {
        "_id": data.choose((f"barrier:{APP}", f"heartbeat:{APP}", f"publish:{APP}", f"access:7:{APP}", None)),
        "app": APP,
        "nonce": data.choose((NONCE, f"access:7:{NONCE}")),
        "version": data.choose((1, 2, MAX_VERSION_NUMBER)),
    }
    for name in document:
        match data.byte() % 8:
            case 0:
                document[name] = bson_value(data)
            case 1:
                document[name] = "".join(data.choose(PIECES) for _ in range(data.byte() % 8))
            case 2 if document[name] is not None:
                document[name] = [document[name]]
    if data.byte() % 8 == 0:
        del document[data.choose(("app", "nonce", "version"))]
    return document
