"""From the change stream to the log, and from either to the sessions."""
