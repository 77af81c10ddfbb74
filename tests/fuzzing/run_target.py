"""What `make fuzz` starts for each target: `python -m tests.fuzzing.run_target TARGET [option of libFuzzer …]`."""

from __future__ import annotations

import os
import sys

import atheris  # by `make fuzz`

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

with atheris.instrument_imports(include=["changesource"], enable_loader_override=False):
    from tests.fuzzing.targets import CHECKS


def main() -> None:
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], CHECKS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
