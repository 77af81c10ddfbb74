"""The settings, which all come from the environment. `.env.example` documents each variable."""

import os
import re
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent


class Env(environ.Env):
    """Takes every value literally. For django-environ, a value that begins with `$` names another variable, so a secret that
    happens to begin with it would count as missing."""

    def get_value(self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, **options: Any) -> Any:
        value = os.environ.get(var, "")
        if value.startswith("$"):
            return self.parse_value(value, cast)
        return super().get_value(var, cast, default, **options)


env = Env()
env_file = BASE_DIR / ".env"
if env_file.is_file():
    env.read_env(env_file)

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Set it to a long random string, or set DEBUG=1 for development."
        )
    # It is the same in every process, because processes find clients' tokens by it. `check --deploy` recognises the prefix.
    SECRET_KEY = "django-insecure-for-development-only-as-it-stands-in-the-source-code"  # noqa: S105
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# The path below which everything is served: HTTP by the line below, WebSockets by `changesource.limits.gate`. No header can
# set it.
ROOT_PATH = env.str("ROOT_PATH", default="")
FORCE_SCRIPT_NAME = ROOT_PATH or None

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "simple_history",
    "changesource",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "zerosources.content_security_policy.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    # Records which user changed a client.
    "simple_history.middleware.HistoryRequestMiddleware",
    "changesource.limits.log_ins.TooManyLogInsMiddleware",
]

AUTHENTICATION_BACKENDS = [
    # Limits log-ins before a password is checked.
    "changesource.limits.log_ins.LogInLimits",
    "django.contrib.auth.backends.ModelBackend",
]

ROOT_URLCONF = "zerosources.urls"
ASGI_APPLICATION = "zerosources.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {"default": env.db_url("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Several processes share the file: wait for the writer instead of failing, and let readers continue meanwhile.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

# Whether people and zero-cache connect over TLS, which a proxy in front ends, or `manage.py serve --endpoint ssl:…`.
TLS = env.bool("TLS", default=not DEBUG)
SECURE_SSL_REDIRECT = TLS
# Load balancers and zero-cache are near and may ask without TLS. The former count a redirect as a failure, and zero-cache
# follows it with a GET.
SECURE_REDIRECT_EXEMPT = [rf"^({re.escape(ROOT_PATH.lstrip('/'))}/)?(healthz|readyz|api/zero/query)$"]
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=30 * 24 * 3600) if TLS else 0
SESSION_COOKIE_SECURE = TLS
CSRF_COOKIE_SECURE = TLS
# The proxy says how a request reached it. This needs a setting, because any client can send the header.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("PROXY_HEADERS", default=False) else None
# The owner of a domain decides about HSTS on all its subdomains and about HSTS preload, not one service in the domain.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

# What our pages may load and do: they may use our own files, and no script or style inside a page. `data:` is for images in
# admin's own style sheets. The setting has this name in Django 6.0, which has the middleware itself.
SECURE_CSP = {
    "default-src": ["'none'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "font-src": ["'self'"],
    "connect-src": ["'self'"],
    "form-action": ["'self'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
}

STATIC_URL = "static/"
# WhiteNoise serves the files of the installed apps from where they are, so there is no need to collect them.
WHITENOISE_USE_FINDERS = True

# A table with many columns is one form in admin.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000
# For all fields of a form together. The largest form is a table with 1,000 columns, a mapping and permissions.
DATA_UPLOAD_MAX_MEMORY_SIZE = 2**20

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
}

# The MongoDB sources: the name that an app's `source` refers to → the URI. URIs are never stored in the Django database.
MONGODB_URI_PREFIX = "MONGODB_URI_"
CHANGESOURCE_SOURCES = {
    name.removeprefix(MONGODB_URI_PREFIX).lower(): uri
    for name, uri in os.environ.items()
    if name.startswith(MONGODB_URI_PREFIX) and uri
}
if default_uri := env.str("MONGODB_URI", default=""):
    CHANGESOURCE_SOURCES["default"] = default_uri

# Redis holds the change log and carries the doorbell. If the URL is empty, both are in the process of `manage.py serve`.
REDIS_URL = env.str("REDIS_URL", default="")
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # No timeout of redis-py's own: it would end the layer's wait for messages, and swallow cancellations.
        "CONFIG": {"hosts": [{"address": REDIS_URL, "socket_timeout": None}], "prefix": "changesource"},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

CHANGESOURCE = {
    "heartbeat_seconds": env.float("HEARTBEAT_SECONDS", default=10.0),
    "lease_seconds": env.float("LEASE_SECONDS", default=5.0),
    "quiet_commit_seconds": env.float("QUIET_COMMIT_SECONDS", default=60.0),
    "stall_seconds": env.float("STALL_SECONDS", default=120.0),
    "snapshot_plain_inserts": env.bool("SNAPSHOT_PLAIN_INSERTS", default=False),
    "deflate": env.bool("WEBSOCKET_DEFLATE", default=True),
    "jwt": {
        "secret": env.str("JWT_SECRET", default=""),
        "keys": env.str("JWT_KEYS", default=""),
        "keys_file": env.str("JWT_KEYS_FILE", default=""),
        "jwks_url": env.str("JWT_JWKS_URL", default=""),
        "algorithms": tuple(env.list("JWT_ALGORITHMS", default=["HS256", "RS256", "ES256", "EdDSA"])),
        "audience": env.str("JWT_AUDIENCE", default=""),
        "issuer": env.str("JWT_ISSUER", default=""),
        "client_claim": env.str("JWT_CLIENT_CLAIM", default="sub"),
        "attributes": tuple(env.list("JWT_ATTRIBUTES", default=[])),
    },
    "user_jwt": {
        "secret": env.str("USER_JWT_SECRET", default=""),
        "keys": env.str("USER_JWT_KEYS", default=""),
        "keys_file": env.str("USER_JWT_KEYS_FILE", default=""),
        "jwks_url": env.str("USER_JWT_JWKS_URL", default=""),
        "algorithms": tuple(env.list("USER_JWT_ALGORITHMS", default=["HS256", "RS256", "ES256", "EdDSA"])),
        "audience": env.str("USER_JWT_AUDIENCE", default=""),
        "issuer": env.str("USER_JWT_ISSUER", default=""),
    },
    "user_authentication": tuple(
        env.list(
            "USER_AUTHENTICATION",
            default=[
                "changesource.authentication.callers.jwt_caller",
                "changesource.authentication.callers.session_caller",
            ],
        )
    ),
    "root_path": ROOT_PATH,
    "admin": env.bool("ADMIN", default=True),
    "requests_per_address": env.int("REQUESTS_PER_ADDRESS", default=1200),
    "logins_per_address": env.int("LOGINS_PER_ADDRESS", default=20),
    "logins_per_user": env.int("LOGINS_PER_USER", default=10),
    "connections_per_address": env.int("CONNECTIONS_PER_ADDRESS", default=2048),
    "handshakes_per_address": env.int("HANDSHAKES_PER_ADDRESS", default=600),
    "handshakes_per_client": env.int("HANDSHAKES_PER_CLIENT", default=300),
    "streams_per_client": env.int("STREAMS_PER_CLIENT", default=20),
    "snapshots_per_app": env.int("SNAPSHOTS_PER_APP", default=4),
    "snapshot_min_bytes_per_second": env.int("SNAPSHOT_MIN_BYTES_PER_SECOND", default=65_536),
    "max_upstream_bytes": env.int("MAX_UPSTREAM_BYTES", default=65_536),
    "upstream_messages_per_second": env.int("UPSTREAM_MESSAGES_PER_SECOND", default=2_000),
    "handshake_seconds": env.float("HANDSHAKE_SECONDS", default=10.0),
    "proxy_headers": env.bool("PROXY_HEADERS", default=False),
    "audit_days": env.int("AUDIT_DAYS", default=90),
}

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "zerosources.log_lines.LineFormatter",
            "format": "{asctime} {levelname} {name} {message}",
            "style": "{",
        }
    },
    "filters": {"refused_requests": {"()": "zerosources.refused_requests.WithoutTraceback"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["refused_requests"]},
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "changesource": {"level": LOG_LEVEL},
        "zerosources": {"level": LOG_LEVEL},
        # Django's own handlers of these loggers would write the text of requests unescaped.
        "django": {"handlers": [], "level": "INFO"},
        "django.server": {"handlers": [], "level": "INFO", "propagate": True},
        # Its tracebacks while Redis is away say nothing that changesource.log does not say, and nothing depends on the layer.
        "channels_redis": {"level": "CRITICAL"},
    },
}
