"""`manage.py serve`, as far as it does not serve: what it says of endpoints."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from django.core.management.base import CommandError

import changesource.daphne.server  # noqa: F401 (installs Twisted's reactor)
from changesource.management.commands.serve import check_endpoint, warn_of_endless_redirect
from tests.e2e.certificates import Certificate, self_signed

# Twisted's own way with pyOpenSSL.
pytestmark = pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("one"), "127.0.0.1")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("other"), "127.0.0.1")


def test_good_endpoints_are_accepted(certificate: Certificate) -> None:
    """Plain ones, and ones with a key and its certificate."""
    check_endpoint("tcp:port=8000:interface=127.0.0.1")
    check_endpoint(f"ssl:port=8443:{certificate.endpoint}")
    check_endpoint(f"ssl:port=8443:{certificate.endpoint}:extraCertChain={certificate.certificate}")


def refusal(description: str) -> str:
    with pytest.raises(CommandError) as refused:
        check_endpoint(description)
    return str(refused.value)


def test_a_missing_file_is_named(certificate: Certificate, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.pem"
    for description in (
        f"ssl:port=8443:privateKey={missing}:certKey={certificate.certificate}",
        f"ssl:port=8443:privateKey={certificate.key}:certKey={missing}",
    ):
        assert f"{missing} cannot be read (No such file or directory)" in refusal(description)


def test_a_key_of_another_certificate_is_refused(certificate: Certificate, other: Certificate) -> None:
    """When the server starts, and not at its first connection."""
    assert "must belong to the key" in refusal(
        f"ssl:port=8443:privateKey={other.key}:certKey={certificate.certificate}"
    )


def test_a_file_that_is_not_a_key_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    """The message shows nothing of the file."""
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN SECRET-----")
    said = refusal(f"ssl:port=8443:privateKey={path}:certKey={certificate.certificate}")
    assert "PEM" in said
    assert "SECRET" not in said


@pytest.mark.parametrize(
    "description",
    ["", "8000", "tcp", "tcp:port=http", "https:port=8443", "ssl:8443:sslmethod=SSLv0", "tcp:port=8000:nonsense=1"],
)
def test_what_is_not_an_endpoint_is_refused_with_an_example(description: str) -> None:
    assert "ssl:port=8443:privateKey=key.pem:certKey=cert.pem" in refusal(description)


@pytest.mark.parametrize(
    ("redirects", "proxy", "endpoint", "warns"),
    [
        (True, False, "tcp:port=8000", True),
        (True, True, "tcp:port=8000", False),
        (True, False, "ssl:port=8443", False),
        (False, False, "tcp:port=8000", False),
    ],
)
def test_a_redirect_to_https_that_nothing_answers_is_warned_of(
    settings, caplog: pytest.LogCaptureFixture, redirects: bool, proxy: bool, endpoint: str, warns: bool
) -> None:
    """With what to do."""
    settings.SECURE_SSL_REDIRECT = redirects
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if proxy else None
    with caplog.at_level(logging.WARNING):
        warn_of_endless_redirect([endpoint])
    assert ("PROXY_HEADERS=1" in caplog.text) == warns
