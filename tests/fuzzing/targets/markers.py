"""Markers: what a document in the source can mean, and how what was read of it stands in the log."""

from __future__ import annotations

from changesource.log.entries import NONCE_LENGTH, AccessCutover, Entry, EntryId, pack_nonces, unpack_nonces
from changesource.log.redis import access_cutover_of, access_text
from changesource.mongo.events import ChangeEvent
from changesource.mongo.markers import (
    MARKERS_COLLECTION,
    MAX_VERSION_NUMBER,
    access_marker_of,
    nonce_of,
    publish_marker_of,
)
from changesource.protocol.watermarks import Position
from tests.fuzzing.bounds import in_time
from tests.fuzzing.inputs import Bytes, bson_value

APP_ID = "shop"
KINDS = ("barrier", "heartbeat", "publish", "access:1", "access:05", "source")
CLUSTER_TIME = 2**64 - 1


def check(data: bytes) -> None:
    """The rest of the input as text, or a value of any type, is the nonce of a marker, of which the first bytes say the
    kind. It means one thing at most, which the log gives back as it was, with the cluster time of the event."""
    values = Bytes(data[:64])
    document_id = f"{values.choose(KINDS)}:{APP_ID}" if values.byte() % 8 else bson_value(values)
    nonce = data[3:].decode(errors="surrogateescape") if values.byte() % 4 else bson_value(values)
    document = {"_id": document_id, "app": APP_ID, "nonce": nonce, "version": bson_value(values)}
    for version in (document["version"], 2):
        with in_time():
            check_event(
                ChangeEvent(
                    "upsert", MARKERS_COLLECTION, None, {**document, "version": version}, CLUSTER_TIME, False, 0
                )
            )


def check_event(event: ChangeEvent) -> None:
    nonce, publish, access = (read(event, APP_ID) for read in (nonce_of, publish_marker_of, access_marker_of))
    assert [nonce, publish, access].count(None) >= 2
    entry = Entry(EntryId(Position(CLUSTER_TIME)), 0)
    if nonce is not None:
        assert unpack_nonces(pack_nonces([nonce, nonce])) == (nonce, nonce)
        entry = Entry(entry.id, 0, markers=(nonce, nonce))
        assert entry.size == 2 * NONCE_LENGTH
    if publish is not None:
        assert 0 < publish.number <= MAX_VERSION_NUMBER
        assert len(publish.nonce) == NONCE_LENGTH
    if access is not None:
        cutover = AccessCutover(access.client_id, access.nonce, event.cluster_time)
        text = access_text(cutover)
        assert access_cutover_of(text.encode()) == cutover
        assert len(text) <= Entry(entry.id, 0, access_cutover=cutover).size
