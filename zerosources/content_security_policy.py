"""The Content-Security-Policy of our pages, in place of the middleware of the same name and settings that Django 6.0 has."""

from collections.abc import Mapping, Sequence

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

HEADER = "Content-Security-Policy"
DEBUG_PAGES = {404, 500}
"""With DEBUG these answers are pages of Django's, with scripts and styles inside."""


class ContentSecurityPolicyMiddleware(MiddlewareMixin):
    """Sets `SECURE_CSP` on every answer."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if not (settings.DEBUG and response.status_code in DEBUG_PAGES):
            response.headers.setdefault(HEADER, policy(settings.SECURE_CSP))
        return response


def policy(directives: Mapping[str, Sequence[str]]) -> str:
    """The header's value."""
    return "; ".join(" ".join([name, *values]) for name, values in directives.items())
