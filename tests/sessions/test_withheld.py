"""client_access.py, session.py, transition.py: a replica that stays behind a publish, or comes back at a watermark of
before it, no longer reads what the publish took away. Its rows are looked up, so they are what documents are now."""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from changesource.models import Grant
from changesource.tables.definition import Column, Table
from tests.models.builders import set_grant
from tests.simulation.client_world import in_this_thread
from tests.simulation.stories import Recorded, Story, definition_of

ID, TENANT = Column("_id", "string"), Column("tenant", "string", optional=True)
SECRET = Column("secret", "string", optional=True)
CITY = Table("city", (ID, TENANT), ("_id",), collection="thing")
WITH_SECRET = replace(CITY, columns=(ID, TENANT, SECRET))
RIVER = Table("river", (ID,), ("_id",), collection="thing")
CITY_ONLY = '{"city": {}}'
AFTERWARDS = "written after the publish that took it away"


@pytest.fixture(autouse=True)
def in_loop(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    logging.disable(logging.ERROR)
    with in_this_thread():
        yield
    logging.disable(logging.NOTSET)


def sent_after(story: Story, *published: Sequence[Table]) -> list[str]:
    """What a replica is sent that comes back at the watermark of its snapshot after versions with these tables were published
    one after the other, and a document was changed before and after. It then holds what the newest version says."""

    async def run() -> list[str]:
        cache = Recorded(story)
        await story.connect(cache)  # its snapshot
        cache.frames.clear()
        story.write(secret="written while it was published")
        for tables in published:
            story.publish(definition_of(tables))
        story.write(secret=AFTERWARDS, tenant="b")
        await story.connect(cache)
        assert cache.contents() == story.expected()
        return cache.frames

    with story.patched():
        story.write(tenant="a")
        return asyncio.run(run())


@pytest.mark.django_db(transaction=True)
class TestPublish:
    def test_a_column_that_goes_is_sent_as_null(self) -> None:
        """Its rows stay, so their other columns are sent on, with null for the column until it goes."""
        frames = sent_after(Story(WITH_SECRET, RIVER), [CITY, RIVER])
        assert AFTERWARDS not in str(frames)
        assert {"_id": "x", "tenant": "b", "secret": None} in [
            json.loads(frame)[1].get("new") for frame in frames if '"city"' in frame
        ]

    def test_nothing_is_sent_of_a_table_whose_required_column_goes(self) -> None:
        """The table is made again at the publish; nothing is sent of it before."""
        required = replace(WITH_SECRET, columns=(ID, TENANT, replace(SECRET, optional=False)))
        assert AFTERWARDS not in str(sent_after(Story(required, RIVER), [CITY, RIVER]))

    def test_the_former_field_of_a_column_is_no_longer_read(self) -> None:
        """The value of the former field is not read any more."""
        hidden = replace(WITH_SECRET, columns=(ID, TENANT, replace(SECRET, field="public")))
        assert AFTERWARDS not in str(sent_after(Story(WITH_SECRET, RIVER), [hidden, RIVER]))

    def test_rows_that_a_mapping_leaves_out_are_no_longer_read(self) -> None:
        """Rows that are no longer shown are not read any more."""
        filtered = replace(WITH_SECRET, mapping='{"filter": {"tenant": "a"}}')
        assert AFTERWARDS not in str(sent_after(Story(WITH_SECRET, RIVER), [filtered, RIVER]))

    def test_a_table_that_goes_is_no_longer_read(self) -> None:
        """Nothing of it is read any more."""
        assert AFTERWARDS not in str(sent_after(Story(WITH_SECRET, RIVER), [RIVER]))

    def test_a_column_that_came_and_went_is_never_sent(self) -> None:
        """A version in between is passed by: its table is loaded, and not with what the next one takes away."""
        assert AFTERWARDS not in str(sent_after(Story(CITY, RIVER), [WITH_SECRET, RIVER], [CITY, RIVER]))

    def test_a_column_that_went_and_came_is_there_in_the_end(self) -> None:
        """What the newest version shows may be read, and is there in the end."""
        assert AFTERWARDS in str(sent_after(Story(WITH_SECRET, RIVER), [CITY, RIVER], [WITH_SECRET, RIVER]))


@pytest.mark.django_db(transaction=True)
def test_an_access_of_an_earlier_release_withholds_what_it_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that an earlier release showed a table without a row filter loses it at the next marker. It is sent no row
    of it before, although what is stored of its access still shows the table."""
    story = Story(CITY, RIVER)

    async def run() -> None:
        cache = Recorded(story)
        with monkeypatch.context() as before:
            before.setattr(Grant, "access", lambda grant: {"tables": None, "rowFilters": CITY_ONLY, "attributes": {}})
            await story.connect(cache)
            assert cache.contents()[0].keys() == {"city", "river"}
        cache.frames.clear()
        story.write(tenant="b")
        await story.connect(cache)
        assert cache.contents() == story.expected()
        assert cache.contents()[0].keys() == {"city"}
        changes = [json.loads(frame)[1] for frame in cache.frames if '"river"' in frame]
        assert [change["tag"] for change in changes] == ["drop-table"]

    set_grant(story.client, row_filters=CITY_ONLY)
    with story.patched():
        story.write(tenant="a")
        asyncio.run(run())
