"""The project's settings with Daphne among the apps, as `runserver` needs it."""

from zerosources.settings import *  # noqa: F403
from zerosources.settings import INSTALLED_APPS

INSTALLED_APPS = ["daphne", *INSTALLED_APPS]
