"""What MongoDB's own server is known to send, played by a scripted server on the wire."""
