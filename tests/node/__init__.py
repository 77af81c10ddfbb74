"""Node programs that look at things with zero-cache's own code, and their Python side."""
