"""The product's trials, run as `python -m tests.trials.impatient`, with little patience for a source that is not there."""

from pymongo import common

from changesource.mongo import source
from changesource.trials.__main__ import main

if __name__ == "__main__":
    source.SERVER_SELECTION_TIMEOUT_MS = 50
    common.MIN_HEARTBEAT_INTERVAL = 0.025  # see tests/mongo/impatience.py
    main()
