"""Draft → immutable version."""
