"""session.py: what a zero-cache is told when its replica cannot go on."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from changesource.models import App, AwaitedReplica, Version
from changesource.models.source_store import begin_anew
from changesource.protocol import closing
from tests.faults.sessions import ChangeSource, Replica, change_source
from tests.models.builders import build_app
from zerosources.embedded.servers import MongoServer

pytestmark = pytest.mark.django_db(transaction=True)

SOON_SECONDS = 20.0


@pytest.fixture
def app(mongo_server: MongoServer, settings: Any) -> App:
    uri = mongo_server.uri(f"resets_{uuid.uuid4().hex[:12]}")
    settings.CHANGESOURCE_SOURCES = {"default": uri}
    return build_app()


@pytest.fixture
async def source(app: App, settings: Any) -> AsyncIterator[ChangeSource]:
    async with change_source(settings.CHANGESOURCE_SOURCES["default"], app, heartbeat_seconds=0.1) as source:
        await source.database.city.insert_one({"_id": 1, "name": "Bern"})
        yield source


class ToldReplica(Replica):
    """One that also takes what it is told besides changes."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.get_running_loop().create_future()

    async def send_frames(self, frames: Sequence[bytes]) -> None:
        message = json.loads(frames[0])
        if message[0] == "control":
            self.told.set_result(message[1])
        else:
            await super().send_frames(frames)


@pytest.mark.parametrize("when", ["streaming", "away"])
async def test_access_is_known_first(source: ChangeSource, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """An app that begins anew, and what its clients may read with it, are looked at one after the other. Whichever is seen
    first, the reason is the app's, and who looks after it is alarmed."""
    monkeypatch.setattr(closing, "RESET_DELAY_SECONDS", 0)
    replica = ToldReplica()
    await source.take_snapshot(replica)
    replica.connect(source.session(replica))
    stream = asyncio.create_task(replica.session.run()) if when == "streaming" else None

    async def see_nothing() -> None:
        return None

    monkeypatch.setattr(source.service, "_refresh", see_nothing)
    base = await sync_to_async(Version.objects.get)()
    await begin_anew("shop", base.nonce, "a" * 32, "another database")
    stream = stream or asyncio.create_task(replica.session.run())
    told = await asyncio.wait_for(replica.told, SOON_SECONDS)
    assert await stream is None

    assert told["tag"] == "reset-required"
    assert "another database" in told["message"]
    assert await sync_to_async(AwaitedReplica.objects.alarming().exists)()
