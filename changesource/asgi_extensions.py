"""What our own server and the ASGI application tell each other beyond ASGI."""

SEND_FRAMES = "changesource.send_frames"
"""ASGI extension and message type: `{"type": SEND_FRAMES, "frames": [bytes]}` sends several text
frames in one call."""
UPSTREAM_REFUSED = "changesource.refused"
"""ASGI message type: `{"type": UPSTREAM_REFUSED, "how": Closing}` tells the application that the
server accepts no more."""
DENIAL_RESPONSE = "websocket.http.response"
"""ASGI's own extension that lets the application deny a WebSocket with a status of its choice."""
