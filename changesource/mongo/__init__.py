"""Everything that communicates with MongoDB."""
