"""The package: `changesource` in a Django project that is not this one, as docs/existing-project.md says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
import tomllib
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from packaging.requirements import Requirement

from zerosources.embedded.ports import free_port

pytestmark = pytest.mark.not_fast

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "existing-project.md").read_text()
OF_THIS_PROJECT = {"django-environ", "hiredis", "psycopg", "whitenoise"}
"""What its settings use, or what only makes it faster."""


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, as a build leaves files beside its sources."""
    folder = tmp_path_factory.mktemp("package")
    copy = folder / "source"
    for name in ("changesource", "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run([*command, str(copy)], check=True, capture_output=True)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture
def project(wheel: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a project whose files are those of the page, in front of which the wheel is installed."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    package = tmp_path / "mysite"
    package.mkdir()
    settings, urls, asgi = code_blocks("python")
    prelude = """
        import os
        from pathlib import Path
        SECRET_KEY = "for tests only"
        ALLOWED_HOSTS = ["127.0.0.1"]
        ROOT_URLCONF = "mysite.urls"
        STATIC_URL = "static/"
        USE_TZ = True
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "db.sqlite3"}}
        TEMPLATES = [{
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]},
        }]
    """
    djangos = """
        MIDDLEWARE = [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            *MIDDLEWARE,
        ]
    """
    (package / "__init__.py").touch()
    (package / "settings.py").write_text(textwrap.dedent(prelude) + settings + textwrap.dedent(djangos))
    (package / "urls.py").write_text(
        "from django.contrib import admin\nfrom django.urls import include, path\n" + urls.partition("\n")[2]
    )
    (package / "asgi.py").write_text(
        "import os\nfrom django.core.asgi import get_asgi_application\n" + asgi.partition("\n")[2]
    )
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(tmp_path)]),
        "DJANGO_SETTINGS_MODULE": "mysite.settings",
        "MONGODB_URI": "mongodb://127.0.0.1:1/shop?replicaSet=rs0",
    }


def manage(environment: dict[str, str], cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "django", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_wheel_has_what_pages_need(wheel: Path) -> None:
    """Templates, static files, migrations and the licence, and nothing of this repository's own project."""
    names = zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "changesource").rglob("*"):
        is_needed = path.suffix in {".py", ".html", ".css", ".txt"} or "static" in path.parts
        if path.is_file() and is_needed and not {"node_modules", "__pycache__"} & set(path.parts):
            assert str(path.relative_to(ROOT)) in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names} == {"changesource", names[-1].partition("/")[0]}


def test_a_project_of_its_own(project: dict[str, str], tmp_path: Path) -> None:
    """It passes the checks, has its tables, and serves health, admin and the stream out of the installed package."""
    where = manage(project, tmp_path, "shell", "-v0", "-c", "import changesource; print(changesource.__file__)")
    assert str(tmp_path / "site") in where.stdout, where.stderr
    for arguments in (["check"], ["makemigrations", "--check", "--dry-run"], ["migrate", "-v0"]):
        done = manage(project, tmp_path, *arguments)
        assert done.returncode == 0, done.stderr
    port = free_port()
    command = [sys.executable, "-P", "-m", "django", "serve", "--port", str(port)]
    with subprocess.Popen(command, env=project, cwd=tmp_path, stderr=subprocess.PIPE) as server:
        try:
            assert wait_for(f"http://127.0.0.1:{port}/healthz") == b'{"status":"ok"}'
            assert b"Django administration" in wait_for(f"http://127.0.0.1:{port}/admin/login/")
        finally:
            server.terminate()
            server.communicate(timeout=20)
    assert server.returncode == 0


def wait_for(url: str) -> bytes:
    deadline = time.monotonic() + 30
    while True:
        try:
            with urlopen(url, timeout=5) as response:
                content: bytes = response.read()
                return content
        except URLError:
            assert time.monotonic() < deadline, url
            time.sleep(0.1)


def test_the_package_asks_for_what_this_project_runs_on() -> None:
    """Each direct requirement of the app is one of the package's, in a range that holds the version that is tested."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    ranges = {requirement.name.lower(): requirement for requirement in map(Requirement, declared)}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert {pin.name.lower() for pin in pinned} == ranges.keys() | OF_THIS_PROJECT
    for pin in pinned:
        [version] = [one.version for one in pin.specifier]
        assert pin.name in OF_THIS_PROJECT or version in ranges[pin.name.lower()].specifier, pin
