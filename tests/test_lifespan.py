"""lifespan.py: what it tells servers other than Daphne."""

import asyncio
from typing import Any

import pytest

from changesource import lifespan as lifespan_module
from changesource.lifespan import lifespan


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens to the service, and what is sent, in order."""
    done: list[str] = []

    async def running_service() -> None:
        done.append("start")

    async def stop_service() -> None:
        done.append("stop")

    monkeypatch.setattr(lifespan_module, "running_service", running_service)
    monkeypatch.setattr(lifespan_module, "stop_service", stop_service)
    return done


async def run(done: list[str]) -> list[dict[str, Any]]:
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        done.append(message["type"])
        received.put_nowait({"type": "lifespan.shutdown"})

    received.put_nowait({"type": "lifespan.startup"})
    async with asyncio.timeout(20):
        await lifespan({"type": "lifespan"}, received.get, send)
    return sent


async def test_the_service_runs_as_long_as_the_server_serves(done: list[str]) -> None:
    """It starts before the first request and stops at the end."""
    await run(done)
    assert done == ["start", "lifespan.startup.complete", "stop", "lifespan.shutdown.complete"]


async def test_a_service_that_cannot_start_is_reported(
    done: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """To the server, and with the reason in the log."""

    async def fail() -> None:
        raise ValueError("a secret")

    monkeypatch.setattr(lifespan_module, "running_service", fail)
    assert await run(done) == [
        {"type": "lifespan.startup.failed", "message": "The service could not start (ValueError)."}
    ]
    assert "the service could not start" in caplog.text
