"""changesource/daphne/stream_protocol.py, where no server is needed."""

import pytest

from changesource.asgi_extensions import SEND_FRAMES
from changesource.daphne.stream_protocol import StreamProtocol


@pytest.mark.parametrize("state", ["STATE_CLOSING", "STATE_CLOSED"])
@pytest.mark.parametrize(
    "message", [{"type": SEND_FRAMES, "frames": [b"[]"]}, {"type": "websocket.send", "text": "[]"}], ids=["many", "one"]
)
async def test_nothing_is_sent_once_a_connection_closes(state: str, message: dict[str, object]) -> None:
    """The application may not know yet. What it sends meanwhile is not an error."""
    protocol = StreamProtocol()
    protocol.maxMessagePayloadSize = 0
    protocol.state = getattr(StreamProtocol, state)
    await protocol.handle_reply_and_drain(message)
