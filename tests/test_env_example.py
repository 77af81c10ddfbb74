"""`.env.example` names every setting once, with its default, and a value that stands in `.env` arrives as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = (ROOT / ".env.example").read_text()
SETTINGS = (ROOT / "zerosources" / "settings.py").read_text()
NEEDED = {"SECRET_KEY", "ALLOWED_HOSTS", "MONGODB_URI", "REDIS_URL"}
"""What every deployment says for itself: the example has no default of these, but an example."""
AWKWARD = "$a#b=c d\\n'e\"f ${HOME} $(id) %s $"
SECRETS = (
    "SECRET_KEY",
    "JWT_SECRET",
    "JWT_KEYS",
    "USER_JWT_SECRET",
    "USER_JWT_KEYS",
    "REDIS_URL",
    "MONGODB_URI",
    "MONGODB_URI_ARCHIVE",
)

SHOWN = """
import json, sys
from zerosources import settings
print(json.dumps({name: value for name, value in vars(settings).items() if name.isupper()}, default=str))
"""


def variables(text: str, *, commented: bool) -> list[tuple[str, str]]:
    pattern = r"^#?([A-Z_]+)=(.*)$" if commented else r"^([A-Z_]+)=(.*)$"
    return re.findall(pattern, text, re.MULTILINE)


@cache
def settings_with(*environment: tuple[str, str], folder: Path = ROOT) -> dict[str, Any]:
    """The settings of a process with this environment and nothing else, in a folder that may have a `.env`."""
    done = subprocess.run(
        [sys.executable, "-c", SHOWN],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **dict(environment)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with nothing but the settings."""
    (tmp_path / "zerosources").mkdir()
    for name in ("__init__.py", "settings.py"):
        shutil.copy(ROOT / "zerosources" / name, tmp_path / "zerosources" / name)
    return tmp_path


def test_each_variable_stands_there_once() -> None:
    """A second line of a variable would silently win in a file that was copied whole."""
    counts = Counter(name for name, _ in variables(EXAMPLE, commented=True))
    assert {name: count for name, count in counts.items() if count > 1} == {}


def test_every_setting_stands_there_and_nothing_else() -> None:
    """The variables that the settings read are those of the example."""
    read = set(re.findall(r'\benv\.\w+\(\s*"([A-Z_]+)"', SETTINGS))
    assert {name for name, _ in variables(EXAMPLE, commented=True)} == read | {"MONGODB_URI_ARCHIVE"}


def test_what_is_set_there_is_the_default() -> None:
    """A file that is copied whole, with what a deployment has to say for itself, works as no file does."""
    said = tuple(variables(EXAMPLE, commented=False))
    needed = tuple({**{name: value for name, value in said if name in NEEDED}, "SECRET_KEY": "a key"}.items())
    with_example = settings_with(*[pair for pair in said if pair[0] not in NEEDED], *needed)
    assert with_example == settings_with(*needed)


def test_a_value_of_the_environment_is_taken_as_it_stands() -> None:
    """Secrets may begin with `$`, which django-environ alone takes for the name of another variable."""
    found = settings_with(*((name, AWKWARD) for name in SECRETS))
    assert values_of_secrets(found) == [AWKWARD] * len(SECRETS)


def test_a_value_of_the_file_is_taken_as_it_stands(project: Path) -> None:
    """The same out of `.env`."""
    (project / ".env").write_text("".join(f"{name}={AWKWARD}\n" for name in SECRETS))
    assert values_of_secrets(settings_with(folder=project)) == [AWKWARD] * len(SECRETS)


@pytest.mark.parametrize("value", ['"quoted"', "'quoted'", "\"'", "\\", '\\"', "$x\\n\\", "'$x'"])
def test_a_quoted_value_of_the_file(project: Path, value: str) -> None:
    """In double quotes, with backslashes, every value can be written, as the example says."""
    escaped = re.sub(r'(["\\])', r"\\\1", value)
    (project / ".env").write_text(f'SECRET_KEY="{escaped}"\n')
    assert settings_with(folder=project)["SECRET_KEY"] == value


def values_of_secrets(found: dict[str, Any]) -> list[Any]:
    own, sources = found["CHANGESOURCE"], found["CHANGESOURCE_SOURCES"]
    return [
        found["SECRET_KEY"],
        own["jwt"]["secret"],
        own["jwt"]["keys"],
        own["user_jwt"]["secret"],
        own["user_jwt"]["keys"],
        found["REDIS_URL"],
        sources["default"],
        sources["archive"],
    ]
