"""Zero's change source protocol v0, as pure functions: no Django, no I/O."""
