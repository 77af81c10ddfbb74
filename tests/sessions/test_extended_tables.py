"""transition.py: a table that gets an optional column keeps its rows, and those with a value in it are sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from changesource.tables.definition import Column, Table
from tests.simulation.client_world import HALF_COMPUTED, in_this_thread
from tests.simulation.stories import Recorded, Story, definition_of

pytestmark = pytest.mark.django_db(transaction=True)

ID, TENANT = Column("_id", "string"), Column("tenant", "string", optional=True)
CITY = Table("city", (ID, TENANT), ("_id",), collection="thing")
WITH_N = replace(CITY, columns=(ID, TENANT, Column("n", "number", optional=True)))
ADD_COLUMN = {"tag": "add-column"}


@pytest.fixture(autouse=True)
def in_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    logging.disable(logging.ERROR)
    with in_this_thread():
        yield
    logging.disable(logging.NOTSET)


def row(name: str, n: Any) -> dict[str, Any]:
    return {"tag": "insert", "new": {"_id": name, "tenant": None, "n": n}}


def sent_for(story: Story, new: Table, *after_reading: Callable[[], None]) -> list[dict[str, Any]]:
    """What a replica is sent of the table when it gets a column, and this happens after documents were read for it. The
    replica then holds what the newest version says."""

    async def run() -> list[dict[str, Any]]:
        cache = Recorded(story)
        await story.connect(cache)  # its snapshot
        cache.frames.clear()
        story.after_reading = [*after_reading]
        story.publish(definition_of([new]))
        await story.connect(cache)
        assert cache.contents() == story.expected()
        [commit, *_] = [place for place, frame in enumerate(cache.frames) if frame.startswith('["commit"')]
        assert not any('"city"' in frame for frame in cache.frames[commit:]), "not all came in one transaction"
        return list(cache.changes_of("city"))

    with story.patched():
        return asyncio.run(run())


def test_only_rows_with_a_value_in_the_new_column_are_sent() -> None:
    """No other row is sent, and the table stays."""
    story = Story(CITY)
    story.write("x", n=1)
    story.write("y")
    story.write("z", n=None)
    assert sent_for(story, WITH_N) == [ADD_COLUMN, row("x", 1)]


def test_documents_that_change_meanwhile_end_as_they_are() -> None:
    """What was read before a change, or after it, is overwritten by what the change stream says."""
    story = Story(CITY)
    for name in ("x", "y", "z"):
        story.write(name, n=1)

    def meanwhile() -> None:
        story.write("x", n=5)
        story.delete("y")

    sent = sent_for(story, WITH_N, meanwhile, lambda: story.write("z", n=None))
    assert sent[:3] == [ADD_COLUMN, row("x", 1), row("z", 1)]
    assert len(sent) == 6


def test_a_document_that_comes_and_goes_meanwhile_leaves_no_row() -> None:
    """A row is sent that the replica has not had, and taken back."""
    story = Story(CITY)
    story.write("x", n=1)
    sent = sent_for(story, WITH_N, lambda: story.write("y", n=2), lambda: story.delete("y"))
    assert sent[:3] == [ADD_COLUMN, row("x", 1), row("y", 2)]
    assert sent[-1] == {"tag": "delete", "key": {"_id": "y"}}


def test_a_row_whose_new_column_cannot_be_computed_is_removed() -> None:
    """Where the new column cannot be computed, the row is removed; rows of other documents stay."""
    halved = replace(CITY, mapping=HALF_COMPUTED)
    story = Story(halved)
    story.write("x", n=2)
    story.write("y", n=5)
    story.write("z")
    assert sent_for(story, replace(WITH_N, mapping=HALF_COMPUTED)) == [
        ADD_COLUMN,
        {"tag": "delete", "key": {"_id": "x"}},
        row("y", 2.0),
    ]
