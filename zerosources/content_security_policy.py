"""The Content-Security-Policy of our pages. Django 6.0 has a middleware of the same name, with the same settings."""

from collections.abc import Mapping, Sequence

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

HEADER = "Content-Security-Policy"
DEBUG_PAGES = {404, 500}
"""With DEBUG, answers with these statuses are Django's own pages, which have scripts and styles inside."""


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Sets `SECURE_CSP` on every answer."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not (settings.DEBUG and response.status_code in DEBUG_PAGES):
            response.headers.setdefault(HEADER, policy(settings.SECURE_CSP))
        return response


def policy(directives: Mapping[str, Sequence[str]]) -> str:
    """Returns the value of the header."""
    return "; ".join(" ".join([name, *values]) for name, values in directives.items())
