"""Pure: what documents become. No Django, no I/O."""
