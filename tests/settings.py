"""The project's settings for tests, whatever the environment of whoever runs them says."""

import os
import tempfile

os.environ["SECRET_KEY"] = "for tests only"
os.environ["DEBUG"] = "0"
os.environ["TLS"] = "0"
os.environ["ALLOWED_HOSTS"] = "testserver,localhost,127.0.0.1"
for name in ("REDIS_URL", "DATABASE_URL", "MONGODB_URI", "SECRET_KEY_FALLBACKS", "USER_AUTHENTICATION"):
    os.environ.pop(name, None)
for name in [name for name in os.environ if name.startswith(("JWT_", "USER_JWT_"))]:
    del os.environ[name]

from zerosources.settings import *  # noqa: E402, F403 (after the environment)

# A run of its own for each database server that is supported: tests/test_on_postgresql.py.
URL = os.environ.get("TEST_DATABASE_URL", "")

# In a file: several threads of a process ask the database at the same time, and connections to one in memory do not wait
# for each other.
DATABASE_FOLDER = tempfile.TemporaryDirectory(prefix="zero-sources-", ignore_cleanup_errors=True)
SQLITE = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        # Django does not close a connection to one in memory when it goes on to the test's database.
        "NAME": os.path.join(DATABASE_FOLDER.name, "before.sqlite3"),
        "TEST": {"NAME": os.path.join(DATABASE_FOLDER.name, "django.sqlite3")},
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
        },
    }
}
DATABASES = {"default": env.db_url_config(URL)} if URL else SQLITE  # noqa: F405
# WhiteNoise looks for a static file when a test asks for it. Otherwise each browser of a test has it read all of them.
WHITENOISE_AUTOREFRESH = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
