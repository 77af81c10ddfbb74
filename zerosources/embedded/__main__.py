"""`python -m zerosources.embedded` runs the whole system with sample data until Ctrl-C."""

import argparse
import sys
from pathlib import Path

from zerosources.embedded import EMBEDDED_DIR
from zerosources.embedded.node import NodePackagesError
from zerosources.embedded.run import run
from zerosources.embedded.server import ServerError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m zerosources.embedded", description="Run the whole system with sample data."
    )
    parser.add_argument("--redis", action="store_true", help="run Redis, a watcher and two stream servers as well")
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after N seconds; without it, run until Ctrl-C")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        default=EMBEDDED_DIR / "run",
        help="the folder for data and logs (default: %(default)s)",
    )
    options = parser.parse_args()

    try:
        run(options.data_dir.resolve(), redis=options.redis, seconds=options.seconds, say=say)
    except KeyboardInterrupt:
        return 0
    except (ServerError, NodePackagesError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
