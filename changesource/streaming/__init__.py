"""The watcher (change stream → log) and the session (log → one WebSocket)."""
