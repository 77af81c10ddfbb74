"""TLS that `manage.py serve` ends itself."""

import http.client
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.e2e.certificates import Certificate, self_signed
from tests.e2e.deployment import Deployment
from tests.e2e.workload import SCHEMA, fill
from zerosources.embedded.project import MANAGE, STREAM_PATH, ServeCommand
from zerosources.embedded.server import HOST
from zerosources.embedded.servers import MongoServer, PostgresServer
from zerosources.embedded.zero_cache import ZeroCache


class TlsServe(ServeCommand):
    """`manage.py serve` on nothing but an endpoint with TLS."""

    def __init__(self, folder: Path, environment: dict[str, str], certificate: Certificate) -> None:
        super().__init__(folder, environment=environment)
        self._certificate = certificate
        self.context = ssl.create_default_context(cafile=certificate.certificate)

    def command(self) -> list[str]:
        endpoint = f"ssl:port={self.port}:interface={HOST}:{self._certificate.endpoint}"
        return [sys.executable, str(MANAGE), "serve", "--endpoint", endpoint]

    def is_ready(self) -> bool:
        try:
            return self.get("/healthz").status == http.HTTPStatus.OK
        except OSError:
            return False

    def get(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=10, context=self.context)
        try:
            connection.request("GET", path)
            return connection.getresponse()
        finally:
            connection.close()

    def stream_url(self, token: str) -> str:
        return super().stream_url(token).replace("ws://", "wss://")


@dataclass(frozen=True)
class Tls:
    """A deployment with the settings of production, which serves TLS and nothing else."""

    deployment: Deployment
    server: TlsServe
    certificate: Certificate


@pytest.fixture(scope="module")
def tls(run_dir: Path, mongo_server: MongoServer, postgres_server: PostgresServer) -> Iterator[Tls]:
    with ExitStack() as stack:
        certificate = self_signed(run_dir / "certificate", HOST)
        production = {"DEBUG": "0", "TLS": "1", "ALLOWED_HOSTS": HOST}
        deployment = Deployment(
            stack, run_dir / "tls", mongo_server, postgres_server, None, SCHEMA, None, None, **production
        )
        fill(deployment.database, 5)
        server = TlsServe(deployment.folder / "serve", deployment.environment, certificate)
        stack.callback(server.stop)
        server.start()
        yield Tls(deployment, server, certificate)
        log = server.log_path.read_text()
        assert "Traceback" not in log
        assert "redirects to https" not in log


def test_admin_is_answered(tls: Tls) -> None:
    """Without a redirect to itself, with HSTS, and with a cookie that stays on TLS."""
    answer = tls.server.get("/admin/login/")
    assert answer.status == 200
    assert answer.getheader("Strict-Transport-Security")
    assert "Secure" in (answer.getheader("Set-Cookie") or "")


def test_a_stream(tls: Tls) -> None:
    """A whole snapshot, over wss."""
    url = f"wss://{HOST}:{tls.server.port}{STREAM_PATH}?token={tls.deployment.token}"
    url += f"&appID={tls.deployment.app_id}&shardNum=0"
    with connect(url, ssl=tls.server.context, open_timeout=30, max_size=None) as connection:
        frames = [json.loads(frame) for frame in connection]
    assert (frames[0][0], frames[-1][0]) == ("begin", "commit")


def test_zero_cache_connects(tls: Tls) -> None:
    """With NODE_EXTRA_CA_CERTS for a certificate of one's own, and Basic user info; its replica gets what MongoDB holds."""
    zero_cache = ZeroCache(
        tls.deployment.folder / "zero-cache",
        upstream_url=tls.server.stream_url(tls.deployment.token),
        postgres=tls.deployment.postgres,
        app_id=tls.deployment.app_id,
        env={"NODE_EXTRA_CA_CERTS": str(tls.certificate.certificate)},
    )
    tls.deployment.stack.callback(zero_cache.stop)
    zero_cache.start(wait=False)
    tls.deployment.wait_until_equal(zero_cache)
    tls.deployment.database.notes.insert_one({"_id": "later", "n": 1})
    tls.deployment.wait_until_equal(zero_cache)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_are_refused(tls: Tls) -> None:
    """TLS 1.2 and 1.3 are spoken, 1.1 is not."""
    assert handshake(tls, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert handshake(tls, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match=r"(?i)alert.protocol.version"):
        handshake(tls, ssl.TLSVersion.TLSv1_1)


def handshake(tls: Tls, version: ssl.TLSVersion) -> str | None:
    context = ssl.create_default_context(cafile=tls.certificate.certificate)
    # This side would refuse old versions by itself otherwise.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((HOST, tls.server.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as wrapped,
    ):
        return wrapped.version()


def test_plain_http_on_the_tls_port(tls: Tls) -> None:
    """Is not answered, and disturbs nobody."""
    with socket.create_connection((HOST, tls.server.port), timeout=10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP/1.1 200" not in plain.recv(1000)
    assert tls.server.get("/healthz").status == 200


def test_a_browser_gets_no_stream(tls: Tls) -> None:
    """Whatever its token: pages of other sites run in browsers that can reach this server."""
    url = f"wss://{HOST}:{tls.server.port}{STREAM_PATH}?token={tls.deployment.token}"
    url += f"&appID={tls.deployment.app_id}&shardNum=0"
    started = time.monotonic()
    for origin in ("https://evil.example", f"https://{HOST}:{tls.server.port}"):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(url, ssl=tls.server.context, open_timeout=30, origin=Origin(origin)),
        ):
            pass
        assert refused.value.response.status_code == 403
    assert time.monotonic() - started >= 2
