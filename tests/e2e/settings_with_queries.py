"""The project's settings with an app that has query functions."""

from zerosources.settings import *  # noqa: F403
from zerosources.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.e2e.notes_app"]
