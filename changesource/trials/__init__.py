"""Previews of drafts, and trials of rules and of queries. Each runs in a process of its own, so that no draft can hold up a
stream."""
