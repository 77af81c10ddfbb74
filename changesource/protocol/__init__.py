"""Pure: Zero's change source protocol v0. No Django, no I/O."""
