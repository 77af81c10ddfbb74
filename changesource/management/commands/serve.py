"""`manage.py serve`: a Daphne worker with the project's own options."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from twisted.internet.endpoints import quoteStringArgument

from changesource.stopping import end_when_told

HOST = "127.0.0.1"
PORT = 8000

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Serves admin, the API and the change stream until SIGTERM. Without REDIS_URL it also watches MongoDB; with it, run "
        "manage.py watch_changes beside any number of these."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", help=f"Address to listen on (default {HOST}).")
        parser.add_argument("--port", type=int, help=f"TCP port (default {PORT}).")
        parser.add_argument(
            "--endpoint",
            action="append",
            default=[],
            metavar="DESCRIPTION",
            help=(
                "Another place to listen, or the only one if neither --host nor --port is given; may be repeated. With TLS: "
                "ssl:port=8443:privateKey=key.pem:certKey=cert.pem, optionally with :interface=ADDRESS and "
                ":extraCertChain=chain.pem (Twisted's endpoint descriptions)."
            ),
        )

        parser.add_argument(
            "--no-admin",
            action="store_true",
            help="Serve only health checks, the change stream and named queries, as with ADMIN=0; admin then needs a "
            "process of its own.",
        )

    def handle(
        self, *args: Any, host: str | None, port: int | None, endpoint: list[str], no_admin: bool, **options: Any
    ) -> None:
        from django.core.asgi import get_asgi_application

        from changesource.asgi import make_application
        from changesource.conf import load_settings
        from changesource.daphne.server import StreamServer  # installs Twisted's reactor

        end_when_told()
        settings = load_settings()
        if no_admin:
            settings = replace(settings, admin=False)
        endpoints = list(endpoint)
        if host is not None or port is not None or not endpoint:
            endpoints.append(f"tcp:port={PORT if port is None else port}:interface={quoteStringArgument(host or HOST)}")
        for description in endpoints:
            check_endpoint(description)
        warn_of_endless_redirect(endpoints)

        server = StreamServer(
            make_application(get_asgi_application(), settings),
            endpoints=endpoints,
            server_name="zero-sources",
        )
        server.run()
        if server.failure:
            raise CommandError(server.failure)


def check_endpoint(description: str) -> None:
    """Raises `CommandError` for an invalid description, and for a key and a certificate that TLS
    cannot use: some of these Twisted would notice only at the first connection."""
    from OpenSSL import SSL, crypto
    from twisted.internet import reactor
    from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
    from twisted.internet.error import VerifyError

    place = f"--endpoint {description}"
    try:
        endpoint = serverFromString(reactor, description)
        if isinstance(endpoint, SSL4ServerEndpoint):
            endpoint._sslContextFactory.getContext()
    except OSError as error:
        raise CommandError(f"{place}: {error.filename or 'a file'} cannot be read ({error.strerror}).") from error
    except (SSL.Error, crypto.Error, VerifyError) as error:
        raise CommandError(
            f"{place}: the private key and the certificate cannot be used. Both must be in PEM format, the key without a "
            "password, and the certificate must belong to the key."
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CommandError(
            f"{place}: this is not an endpoint. Write tcp:port=8000, unix:/path, or "
            "ssl:port=8443:privateKey=key.pem:certKey=cert.pem; a colon inside a value is written \\:."
        ) from error


def warn_of_endless_redirect(endpoints: list[str]) -> None:
    """Logs a warning if TLS ends elsewhere and the settings do not say so: every page would be a
    redirect to itself."""
    if not django_settings.SECURE_SSL_REDIRECT or django_settings.SECURE_PROXY_SSL_HEADER:
        return
    if not any(description.startswith("ssl:") for description in endpoints):
        logger.warning(
            "every page redirects to https, which nothing here serves: set PROXY_HEADERS=1 behind a proxy that ends TLS and "
            "sets X-Forwarded-Proto, end TLS here with --endpoint ssl:…, or set TLS=0 in a private network"
        )
