"""The project's settings for tests, whatever the environment of whoever runs them says."""

import os

os.environ["SECRET_KEY"] = "for tests only"
os.environ["DEBUG"] = "0"
os.environ["TLS"] = "0"
os.environ["ALLOWED_HOSTS"] = "testserver,localhost,127.0.0.1"
for name in ("REDIS_URL", "DATABASE_URL", "MONGODB_URI", "SECRET_KEY_FALLBACKS"):
    os.environ.pop(name, None)
for name in [name for name in os.environ if name.startswith("JWT_")]:
    del os.environ[name]

from zerosources.settings import *  # noqa: E402, F403 (after the environment)

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
