"""The servers that development and tests need, out of PyPI wheels: no Docker, no root, nothing outside the project."""

from pathlib import Path

# Ignored by Git: data of servers, npm packages.
EMBEDDED_DIR = Path(__file__).resolve().parent.parent.parent / ".embedded"
