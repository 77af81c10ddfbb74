"""What our own server and the ASGI application say to each other beyond ASGI."""

SEND_FRAMES = "changesource.send_frames"
"""ASGI extension and message type: `{"type": SEND_FRAMES, "frames": [bytes]}` sends text frames without a call for each."""
UPSTREAM_REFUSED = "changesource.refused"
"""ASGI message type: `{"type": UPSTREAM_REFUSED, "how": Closing}` tells the application that no more is taken."""
DENIAL_RESPONSE = "websocket.http.response"
"""ASGI's own extension, by which a WebSocket is denied with a status of the application's choice."""
