"""What the settings are in production, where nothing is said but what has to be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytestmark = pytest.mark.not_fast

ROOT = Path(__file__).resolve().parents[1]
PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "zerosources.settings",
    "DEBUG": "0",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijkl",
    "ALLOWED_HOSTS": "zero.example.com,10.0.0.1",
    "MONGODB_URI": "mongodb://mongo.example.com:27017/shop?replicaSet=rs0",
    "REDIS_URL": "",
    "PROXY_HEADERS": "1",
}
SCRIPT = """
import io, json, django
django.setup()
from django.core.checks import run_checks
from django.core.management import call_command
from django.test import Client
said = io.StringIO()
issues = sorted(issue.id for issue in run_checks(include_deployment_checks=True) if not issue.is_silenced())
if not issues:
    call_command("check", deploy=True, fail_level="DEBUG", stdout=said)
def answer(path, **headers):
    response = Client().get(path, HTTP_HOST="zero.example.com", **headers)
    secure = sorted(name for name, cookie in response.cookies.items() if cookie["secure"])
    return [response.status_code, response.get("Location"), response.get("Strict-Transport-Security"), secure]
print(json.dumps({
    "issues": issues,
    "said": said.getvalue(),
    "plain": answer("/admin/login/?next=/"),
    "health": answer("/healthz"),
    "queries": answer("/api/zero/query"),
    "tls": answer("/admin/login/", HTTP_X_FORWARDED_PROTO="https"),
}))
"""


class Answer(NamedTuple):
    status: int
    location: str | None
    hsts: str | None
    secure_cookies: list[str]


@cache
def observed(environment: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """What a process with the environment of production, and `environment`, finds and answers."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        cwd=ROOT,
        env={**kept, **PRODUCTION, **dict(environment)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def answer(request: str, **environment: str) -> Answer:
    return Answer(*observed(tuple(environment.items()))[request])


def test_check_deploy_is_clean() -> None:
    """`manage.py check --deploy` has nothing to say about production."""
    found = observed()
    assert found["issues"] == []
    assert found["said"].startswith("System check identified no issues")


def test_check_deploy_is_not_clean_without_tls() -> None:
    """It is clean because of the settings, and not because nothing is asked."""
    expected = ["security.W004", "security.W008", "security.W012", "security.W016"]
    assert observed((("TLS", "0"),))["issues"] == expected


def test_pages_redirect_and_what_machines_ask_does_not() -> None:
    """Without TLS everything is sent to https, but for what load balancers and zero-cache ask."""
    assert answer("plain")[:2] == (301, "https://zero.example.com/admin/login/?next=/")
    assert answer("health").status == 200
    assert answer("queries").status == 405  # a GET is refused, and not redirected


def test_over_tls() -> None:
    """What the proxy says came over TLS is answered, with HSTS and cookies that stay on TLS."""
    assert answer("tls") == Answer(200, None, "max-age=2592000", ["csrftoken"])


def test_hsts_seconds() -> None:
    """How long browsers remember can be said."""
    assert answer("tls", HSTS_SECONDS="60").hsts == "max-age=60"


def test_nobody_is_believed_without_a_proxy() -> None:
    """Unless there is said to be a proxy, its header is anybody's."""
    assert answer("tls", PROXY_HEADERS="0").status == 301


@pytest.mark.parametrize("variable", [{"DEBUG": "1"}, {"TLS": "0"}], ids=["DEBUG=1", "TLS=0"])
def test_plain_http(variable: dict[str, str]) -> None:
    """Development, and who says so, gets pages without TLS, whose cookies work there."""
    assert answer("plain", **variable) == Answer(200, None, None, [])
