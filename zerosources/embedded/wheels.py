"""The places of the programs that installed wheels contain."""

from importlib.util import find_spec
from pathlib import Path


def wheel_dir(package: str) -> Path:
    """Returns the folder of an installed package, without importing the package.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"The package {package} is not installed; requirements-dev.txt lists it.")
    return Path(spec.submodule_search_locations[0])
