"""Settings: composition only. What differs between installations is an environment variable.

DATABASE_URL   default SQLite in var/; postgres://user:password@host/name for PostgreSQL
CACHE_URL      default files in var/cache; redis://… when web processes run on several machines
SECRET_KEY     default: made once and kept in var/secret-key
ALLOWED_HOSTS  default localhost; comma separated
HTTPS          1: a proxy of ours ends TLS and says so by X-Forwarded-Proto: secure cookies,
               redirect to https, HSTS for a year (for subdomains, too, and with `preload`)
PROXIES        how many proxies of ours are in front, whose X-Forwarded-For is believed; default 0
ENVIRONMENT_NAME  such as staging: stands in the head of every page, and in its title
DEBUG          1: Django's debug pages
ENCRYPTION_KEYS  id:base64 of 32 bytes, several with commas between: they wrap the keys of tenants
               that are encrypted at rest (docs/encryption.md)
JOBQUEUE       tunables of jobs/conf.py as a JSON object, such as {"lease_seconds": 10}
"""

import json
import logging
import os
import secrets
import sys
import warnings
from pathlib import Path

import dj_database_url
import django
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("VAR_DIR", BASE_DIR / "var"))


def env_flag(name: str) -> bool:
    """An environment variable that is 1 or 0; anything else is refused."""
    value = os.environ.get(name, "0")
    if value not in {"0", "1"}:
        raise ImproperlyConfigured(f"{name} must be 0 or 1, not {value!r}")
    return value == "1"


def env_count(name: str) -> int:
    """An environment variable that is a number, 0 by default; anything else is refused."""
    value = os.environ.get(name, "0")
    if not value.isdecimal():
        raise ImproperlyConfigured(f"{name} must be a number, not {value!r}")
    return int(value)


def env_object(name: str) -> dict[str, object]:
    """An environment variable that is a JSON object, empty by default; anything else is refused."""
    try:
        value = json.loads(os.environ.get(name) or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ImproperlyConfigured(f"{name} must be a JSON object, such as {{}}")
    return value


def bounded_waits(given: dict[str, object]) -> dict[str, object]:
    """Options of a PostgreSQL connection that waits for nothing for ever; what is given wins.

    A vanished server is noticed within half a minute. Locks of ours are held for milliseconds: who
    waits for 10 seconds, or leaves a transaction idle for a minute, would hold up everybody.
    """
    # Statements that take milliseconds are not worth the 0.2 s in which they would be compiled.
    server_side = "-c jit=off -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s"
    client_side = {
        # Statements that come again are planned once; null behind a pooler of transactions.
        "prepare_threshold": 5,
        "connect_timeout": 10,
        "keepalives": 1,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    return client_side | given | {"options": f"{server_side} {given.get('options', '')}".strip()}


def make_private(path: Path) -> None:
    """Make the file of the SQLite database, for our user alone: everybody's payloads are in it.

    SQLite gives the files beside it the same mode.
    """
    if not path.exists():
        path.touch(mode=0o600)


def kept_secret() -> str:
    """The secret of this installation, made at the first start and kept in `var/`."""
    path = VAR_DIR / "secret-key"
    VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return path.read_text()


DEBUG = env_flag("DEBUG")
HTTPS = env_flag("HTTPS")
ENVIRONMENT_NAME = os.environ.get("ENVIRONMENT_NAME", "")
SECRET_KEY = os.environ.get("SECRET_KEY") or kept_secret()
PROXIES = env_count("PROXIES")
RATELIMIT_IP_META_KEY = "jobs.callers.counted_address"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")

INSTALLED_APPS = [
    "jobqueue_project.apps.AdminConfig",
    "jobs",  # before Django's own: its commands about people write to the audit log
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "workers",
    "dashboard",
    "demo",
]
if "runserver" in sys.argv:
    # It makes `runserver` speak ASGI, and costs every other process 25 MB.
    INSTALLED_APPS.insert(0, "daphne")
if django.VERSION < (6, 0):
    INSTALLED_APPS += ["csp", "django_tasks"]
    CSP_MIDDLEWARE = "csp.middleware.CSPMiddleware"
else:
    CSP_MIDDLEWARE = "django.middleware.csp.ContentSecurityPolicyMiddleware"

MIDDLEWARE = [
    "jobqueue_project.kept_connections.believe_quiet",
    "django.middleware.security.SecurityMiddleware",
    "jobqueue_project.pages_only.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "jobs.callers.remember_address",
    "jobs.addresses.refuse_nul",
    "jobqueue_project.pages_only.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "jobqueue_project.pages_only.AuthenticationMiddleware",
    "jobqueue_project.pages_only.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "jobqueue_project.pages_only.HtmxMiddleware",
]

ROOT_URLCONF = "jobqueue_project.urls"
ASGI_APPLICATION = "jobqueue_project.asgi.application"
WSGI_APPLICATION = "jobqueue_project.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

DATABASES = {
    "default": dj_database_url.config(
        default=f"sqlite:///{VAR_DIR / 'jobqueue.sqlite3'}",
        conn_max_age=600,
        conn_health_checks=True,
    )
}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    if Path(DATABASES["default"]["NAME"]).parent == VAR_DIR:
        make_private(Path(DATABASES["default"]["NAME"]))
    DATABASES["default"]["OPTIONS"] = {
        # Writers queue at BEGIN, where the busy timeout applies, and not in mid-transaction.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
            "PRAGMA journal_size_limit=67108864; PRAGMA cache_size=-32000"
        ),
    }
else:
    DATABASES["default"]["OPTIONS"] = bounded_waits(DATABASES["default"].get("OPTIONS", {}))
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHE_URL = os.environ.get("CACHE_URL", "")
CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CACHE_URL}
    if CACHE_URL
    else {
        "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
        "LOCATION": VAR_DIR / "cache",
        # Every write lists the directory, so it is kept small: 16 ms at 10,000 files.
        "OPTIONS": {"MAX_ENTRIES": 1_000},
    }
}

TASKS = {
    "default": {
        "BACKEND": "jobs.backend.JobQueueBackend",
        "QUEUES": [],
        "OPTIONS": {"tenant": "default"},
    }
}
JOBQUEUE = env_object("JOBQUEUE")
_LARGEST = JOBQUEUE.get("max_payload_bytes", 1_000_000)
# Forms take the largest payload, each byte of which may be written as three.
DATA_UPLOAD_MAX_MEMORY_SIZE = 3 * (_LARGEST if isinstance(_LARGEST, int) else 0) + 500_000
ENCRYPTION_KEYS = os.environ.get("ENCRYPTION_KEYS", "")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["jobs.api.authentication.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["jobs.api.authentication.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["jobs.api.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["jobs.api.renderers.RawJSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["jobs.api.rate_limits.CallsPerKey"],
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "jobs.api.problems.problem_response",
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Job queue",
    "DESCRIPTION": "Submit, watch and redrive jobs. Every call but health takes a Bearer key.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "POSTPROCESSING_HOOKS": [
        "jobs.api.components.add_components",
        "jobs.api.error_answers.describe_errors",
        "jobs.api.examples.add_examples",
    ],
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
WHITENOISE_USE_FINDERS = True
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "overview"
LOGOUT_REDIRECT_URL = "login"

CONTENT_SECURITY_POLICY_DIRECTIVES = {
    "default-src": ["'self'"],
    "img-src": ["'self'", "data:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "frame-ancestors": ["'none'"],
    "form-action": ["'self'"],
}
SECURE_CSP = CONTENT_SECURITY_POLICY_DIRECTIVES
CONTENT_SECURITY_POLICY = {"DIRECTIVES": CONTENT_SECURITY_POLICY_DIRECTIVES}
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Who looks after us asks each process, and not the proxy.
SECURE_REDIRECT_EXEMPT = [r"^health/(live|ready)$", r"^metrics$"]
if HTTPS:
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 31_536_000
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

logging.captureWarnings(True)
# Without collectstatic the files come from the apps themselves.
warnings.filterwarnings("ignore", message="No directory at", module="django.core.handlers.base")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"structured": {"()": "jobs.logs.StructuredFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        # It tells the traceback of each failed task, and so its payload; our log tells the rest.
        "django.tasks": {"level": "WARNING"},
        # Anybody can have a request refused, as often as he likes: what was ours to mend is told.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "jobs": {"level": "INFO"},
        "workers": {"level": "INFO"},
        "dashboard": {"level": "INFO"},
        "demo": {"level": "INFO"},
    },
}
