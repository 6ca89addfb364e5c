"""Django settings for MAGI. Every deployment choice is an environment variable.

docs/configuration.md lists them all; a test compares that page with this file.
"""

import os
from pathlib import Path

import django_stubs_ext
import dotenv

from magi_site.database import database_from_url
from magi_site.datadir import broker_url, ensure_secret_key, runtime_dir
from magi_site.env import (
    env_bool,
    env_choice,
    env_host,
    env_int,
    env_names,
    env_path,
    env_paths,
    env_programs,
    env_str,
)

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
dotenv.load_dotenv(env_path("MAGI_ENV_FILE", BASE_DIR / ".env"))  # the environment wins

# -- where MAGI writes, and what it listens on
MAGI_DATA_DIR = env_path("MAGI_DATA_DIR", BASE_DIR / "data")
MAGI_RUN_DIR = runtime_dir(MAGI_DATA_DIR)
MAGI_HOST = env_str("MAGI_HOST", "127.0.0.1")
MAGI_PORT = env_int("MAGI_PORT", 8000, minimum=1, maximum=65535)
MAGI_NODE = env_str("MAGI_NODE", "local")
MAGI_NODE_ADDRESS = env_host("MAGI_NODE_ADDRESS", "127.0.0.1")
MAGI_API_AUTH = env_choice("MAGI_API_AUTH", "auto", choices=("auto", "required", "off"))

# -- models, profiles, servers: the guide's names
MAGI_PROFILE = env_str("MAGI_PROFILE", "")  # empty: the active profile, else `development`
MAGI_PROFILES_DIR = env_path("MAGI_PROFILES_DIR", BASE_DIR / "config" / "profiles")
MAGI_PROFILE_VARIABLES = env_names("MAGI_PROFILE_VARIABLES")  # that profiles may use
MODEL_SCAN_PATH = env_paths("MODEL_SCAN_PATH", [])  # empty: the Hugging Face cache
MAGI_WATCH = env_bool("MAGI_WATCH", default=False)
MODEL_PORT_RANGE_START = env_int("MODEL_PORT_RANGE_START", 8080, minimum=1, maximum=65535)
MODEL_PORT_RANGE_END = env_int("MODEL_PORT_RANGE_END", 8099, minimum=1, maximum=65535)
MODEL_MAX_STARTUP_TIME = env_int("MODEL_MAX_STARTUP_TIME", 0, minimum=0, maximum=86400)
MODEL_STALL_TIMEOUT = env_int("MODEL_STALL_TIMEOUT", 30, minimum=1, maximum=86400)
MODEL_WEDGE_TIMEOUT = env_int("MODEL_WEDGE_TIMEOUT", 120, minimum=1, maximum=86400)
MODEL_RESTART_LIMIT = env_int("MODEL_RESTART_LIMIT", 5, minimum=1, maximum=1000)
MODEL_RESTART_WINDOW = env_int("MODEL_RESTART_WINDOW", 600, minimum=1, maximum=86400)
MODEL_CONCURRENT_STARTS = env_bool("MODEL_CONCURRENT_STARTS", default=True)
MAGI_MEMORY_RESERVE_MIB = env_int("MAGI_MEMORY_RESERVE_MIB", 1024, minimum=0, maximum=1048576)
MAGI_REQUEST_LOG_DAYS = env_int("MAGI_REQUEST_LOG_DAYS", 30, minimum=0, maximum=3650)
MAGI_KEEP_PROMPTS = env_bool("MAGI_KEEP_PROMPTS", default=False)
LLAMA_SERVER_PATH = env_str("LLAMA_SERVER_PATH", "")  # empty: on PATH, else embedded
LLAMA_SERVER_BUILDS = env_programs("LLAMA_SERVER_BUILDS", reserved="embedded")

# -- Django
SECRET_KEY = os.environ.get("MAGI_SECRET_KEY") or ensure_secret_key(MAGI_DATA_DIR)
DEBUG = env_bool("MAGI_DEBUG", default=False)
ALLOWED_HOSTS = [
    host.strip()
    for host in env_str("MAGI_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
    if host.strip()
]
ROOT_URLCONF = "magi_site.urls"
ASGI_APPLICATION = "magi_site.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = env_str("MAGI_TIME_ZONE", "UTC")
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "templates" / "static"]

INSTALLED_APPS = [
    "magi_site.apps.MagiSiteConfig",
    "magi_site.apps.MagiAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "models_app",
    "profiles_app",
    "servers_app",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
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
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
X_FRAME_OPTIONS = "DENY"
WHITENOISE_USE_FINDERS = True  # served from where they lie: no collectstatic step
WHITENOISE_AUTOREFRESH = False

DATABASES = {"default": database_from_url(env_str("DATABASE_URL", ""), MAGI_DATA_DIR)}

# -- Celery. Redis is a unix socket of our own unless REDIS_URL names a server.
OWN_REDIS = not os.environ.get("REDIS_URL")
REDIS_URL = env_str("REDIS_URL", f"unix://{MAGI_RUN_DIR / 'redis.sock'}")
CELERY_BROKER_URL = broker_url(REDIS_URL)
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_RESULT_EXPIRES = 3600  # seconds
CELERY_TASK_DEFAULT_QUEUE = f"node.{MAGI_NODE}"
CELERY_TASK_ACKS_LATE = True  # every task is safe to run twice
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"socket_connect_timeout": 2, "retry_on_timeout": True}
CELERY_BEAT_SCHEDULE_FILENAME = str(MAGI_RUN_DIR / "beat-schedule")
RECONCILE_SECONDS = 5
PRUNE_SECONDS = 3600
CELERY_BEAT_SCHEDULE = {
    "reconcile": {
        "task": "servers_app.tasks.reconcile",
        "schedule": RECONCILE_SECONDS,
        "args": [MAGI_NODE],
        # Below the period, so that a worker that was away does not run a backlog.
        "options": {"expires": RECONCILE_SECONDS - 1},
    },
    "prune-requests": {
        "task": "servers_app.tasks.prune_requests",
        "schedule": PRUNE_SECONDS,
        "options": {"expires": PRUNE_SECONDS - 1},
    },
}

REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["magi_site.api_access.MayCall"],
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.SessionAuthentication"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "EXCEPTION_HANDLER": "magi_site.api_errors.exception_handler",
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    # A reconcile every few seconds would fill the worker's log with its own success.
    "loggers": {
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "watchfiles.main": {"level": "WARNING"},  # a line for each piece of a download
    },
    "root": {"handlers": ["console"], "level": env_str("MAGI_LOG_LEVEL", "INFO").upper()},
}
