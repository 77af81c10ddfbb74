"""The servers that development and tests need, from PyPI wheels: without Docker, without root, and with no file outside the
project."""

from pathlib import Path

# Holds the servers' data and npm packages. Git ignores it.
EMBEDDED_DIR = Path(__file__).resolve().parent.parent.parent / ".embedded"
