"""What the server makes of a pipeline, and what we make of it, in a form that can be compared."""

from collections.abc import Mapping, Sequence
from typing import Any

import bson
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from changesource.mql import MqlError
from changesource.mql.pipeline import CompiledPipeline
from changesource.tables.values import CODEC_OPTIONS
from tests.mql.agreement.spelled_out import TOO_DEEP

Document = dict[str, Any]
Documents = Collection[Document]

FAILED = "an error"
UNANSWERED = "no answer: an internal error of the server, or arrays too deep for what is spelled out"
Outcome = list[bytes] | str
"""The rows in BSON, or one of the constants above."""


def store(collection: Documents, documents: list[Document]) -> list[Document]:
    """Replaces the contents of the collection by these documents, and gives them as they are read back."""
    collection.delete_many({})
    collection.insert_many([dict(document) for document in documents])
    return list(collection.find())


def our_outcome(compiled: CompiledPipeline, document: Document) -> Outcome:
    try:
        return in_bson(compiled(document))
    except MqlError:
        return FAILED


def their_outcome(collection: Documents, pipeline: Sequence[Any], document: Document | None = None) -> Outcome:
    """The outcome for all documents, or for the one."""
    chosen = [] if document is None else [{"$match": {"_id": document["_id"]}}]
    try:
        return in_bson(list(collection.aggregate([*chosen, *pipeline])))
    except OperationFailure as error:
        is_answer = "internal server error" not in str(error) and TOO_DEEP not in str(error)
        return FAILED if is_answer else UNANSWERED


def in_bson(rows: list[Any]) -> list[bytes]:
    return [bson.encode(_without_nan_payloads(row), codec_options=CODEC_OPTIONS) for row in rows]


def _without_nan_payloads(value: Any) -> Any:
    """Replaces the many forms that NaN has in BSON, which MongoDB does not distinguish, by one."""
    if isinstance(value, Mapping):
        return {name: _without_nan_payloads(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_nan_payloads(item) for item in value]
    return float("nan") if isinstance(value, float) and value != value else value


def in_words(outcome: Outcome) -> str:
    return outcome if isinstance(outcome, str) else repr([bson.decode(row, CODEC_OPTIONS) for row in outcome])
