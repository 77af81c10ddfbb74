"""Checks of a source: one definition for `check_source`, `check --database` and admin."""
