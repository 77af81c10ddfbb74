#!/usr/bin/env python
"""Django's command-line utility for this project."""

import gc
import os
import sys

RUN_UNTIL_TOLD = ("serve", "watch_changes")


def main() -> None:
    # All that Django loads stays. Python would examine it for garbage 300 times, for a sixth of the time that a command
    # takes to begin.
    gc.set_threshold(10_000, 50)
    if sys.argv[1:2] and sys.argv[1] in RUN_UNTIL_TOLD:
        from changesource.stopping import end_when_told

        end_when_told()  # Django takes a second to begin
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zerosources.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
