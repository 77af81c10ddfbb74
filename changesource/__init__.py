"""A MongoDB change source for Zero: documents become rows, first as a snapshot, then live."""
