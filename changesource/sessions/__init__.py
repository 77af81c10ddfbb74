"""From the change log to one WebSocket of one zero-cache."""
