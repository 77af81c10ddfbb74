"""What Django logs about requests that it has refused."""

import logging


class WithoutTraceback(logging.Filter):
    """Removes the traceback from log records about a caller's mistake: an unknown host, a form that is too large, a page that
    the user may not see. The line itself stays, and records about failures keep their traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        is_refusal = record.name.startswith("django.security.")
        if is_refusal or (record.name == "django.request" and record.levelno < logging.ERROR):
            record.exc_info = record.exc_text = None
        return True
