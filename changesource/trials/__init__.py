"""What a draft makes of documents, computed in a process of its own: nothing that a draft says holds up a stream."""
