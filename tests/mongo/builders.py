"""Change events."""

from typing import Any

from changesource.mongo.events import ChangeEvent, Operation

BEGIN = 1_700_000_000 << 32


def event(
    step: int,
    number: int = 0,
    *,
    in_transaction: bool = False,
    operation: Operation = "upsert",
    collection: str = "city",
    document: dict[str, Any] | None = None,
) -> ChangeEvent:
    """Returns an event of the document `number`, `step` increments after some moment."""
    return ChangeEvent(
        operation=operation,
        collection=collection,
        document_id=number,
        document=document,
        cluster_time=BEGIN + step,
        in_transaction=in_transaction,
        wall_time_ms=1_700_000_000_000 + step,
    )


def transaction(step: int, count: int, first: int = 0) -> list[ChangeEvent]:
    """Returns the events of one MongoDB transaction, with documents from `first` on."""
    return [event(step, first + number, in_transaction=True) for number in range(count)]
