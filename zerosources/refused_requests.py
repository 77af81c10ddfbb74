"""What Django logs of requests that it has refused."""

import logging


class WithoutTraceback(logging.Filter):
    """Takes the traceback of our own code out of what the caller did wrong: an unknown host, a form that is too large, a page
    that the user may not see. The line stays. Failures keep theirs."""

    def filter(self, record: logging.LogRecord) -> bool:
        is_refusal = record.name.startswith("django.security.")
        if is_refusal or (record.name == "django.request" and record.levelno < logging.ERROR):
            record.exc_info = record.exc_text = None
        return True
