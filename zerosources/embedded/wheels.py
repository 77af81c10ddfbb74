"""Where installed wheels keep the programs that they carry."""

from importlib.util import find_spec
from pathlib import Path


def wheel_dir(package: str) -> Path:
    """The folder of an installed package, found without importing it: its Python code is not what is wanted.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"The package {package} is not installed; requirements-dev.txt lists it.")
    return Path(spec.submodule_search_locations[0])
