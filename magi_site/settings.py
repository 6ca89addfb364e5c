"""Django settings for MAGI. Every deployment choice is an environment variable.

docs/configuration.md lists them all; a test compares that page with this file.
"""

import os
import tomllib
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import django_stubs_ext

from magi_site.database import database_from_url
from magi_site.datadir import broker_url, ensure_secret_key, runtime_dir
from magi_site.env import (
    env_bool,
    env_choice,
    env_flags,
    env_host,
    env_int,
    env_label,
    env_names,
    env_networks,
    env_path,
    env_paths,
    env_programs,
    env_str,
    env_time_zone,
    env_url,
    load_env_file,
)
from magi_site.exposure import LOOPBACK_HOSTS
from magi_site.keepalive import REDIS
from magi_site.log_setup import logging_config

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
load_env_file(env_path("MAGI_ENV_FILE", BASE_DIR / ".env"))
# Before huggingface_hub is imported: it would tell its hub which program calls it.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

MAGI_VERSION = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]

# -- where MAGI writes, and what it listens on
MAGI_DATA_DIR = env_path("MAGI_DATA_DIR", BASE_DIR / "data")
MAGI_RUN_DIR = runtime_dir(MAGI_DATA_DIR)
MAGI_HOST = env_str("MAGI_HOST", "127.0.0.1")
MAGI_PORT = env_int("MAGI_PORT", 8000, minimum=1, maximum=65535)
MAGI_DRAIN_SECONDS = env_int("MAGI_DRAIN_SECONDS", 0, minimum=0, maximum=3600)
MAGI_SHUTDOWN_SECONDS = env_int("MAGI_SHUTDOWN_SECONDS", 5, minimum=0, maximum=86400)
MAGI_NODE = env_label("MAGI_NODE", "local")
MAGI_NODE_ADDRESS = env_host("MAGI_NODE_ADDRESS", "127.0.0.1")
MAGI_API_AUTH = env_choice("MAGI_API_AUTH", "auto", choices=("auto", "required", "off"))
MAGI_TLS = env_choice("MAGI_TLS", "off", choices=("off", "proxy"))
MAGI_TRUSTED_PROXIES = env_networks("MAGI_TRUSTED_PROXIES", "127.0.0.1,::1")

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
MAGI_REQUEST_LOG_ROWS = env_int("MAGI_REQUEST_LOG_ROWS", 1_000_000, minimum=0, maximum=10**9)
MAGI_KEEP_PROMPTS = env_bool("MAGI_KEEP_PROMPTS", default=False)
MAGI_DOWNLOADS_AT_ONCE = env_int("MAGI_DOWNLOADS_AT_ONCE", 2, minimum=1, maximum=16)
MAGI_DOWNLOAD_RESERVE_MIB = env_int("MAGI_DOWNLOAD_RESERVE_MIB", 1024, minimum=0, maximum=2**30)
MAGI_DOWNLOAD_LIMIT_KIB = env_int("MAGI_DOWNLOAD_LIMIT_KIB", 0, minimum=0, maximum=2**30)
MAGI_COPY_DIR = env_path("MAGI_COPY_DIR", MAGI_DATA_DIR / "models")
MAGI_COPY_PORT_RANGE_START = env_int(
    "MAGI_COPY_PORT_RANGE_START", 8180, minimum=1, maximum=65535
)
MAGI_COPY_PORT_RANGE_END = env_int("MAGI_COPY_PORT_RANGE_END", 8189, minimum=1, maximum=65535)
MAGI_OLLAMA_REGISTRY = env_url("MAGI_OLLAMA_REGISTRY", "https://registry.ollama.ai")
MAGI_AUDIT_DAYS = env_int("MAGI_AUDIT_DAYS", 365, minimum=0, maximum=3650)  # 0: for good
# 90 or more: pages of usage show days of MAGI_TIME_ZONE of so many days, sums are of UTC's.
MAGI_USAGE_MINUTE_DAYS = env_int("MAGI_USAGE_MINUTE_DAYS", 90, minimum=90, maximum=36500)
MAGI_EVENT_DAYS = env_int("MAGI_EVENT_DAYS", 90, minimum=0, maximum=3650)
MAGI_SCAN_DAYS = env_int("MAGI_SCAN_DAYS", 90, minimum=0, maximum=3650)
MAGI_HISTORY_DAYS = env_int("MAGI_HISTORY_DAYS", 365, minimum=0, maximum=3650)
MAGI_PARTIAL_DAYS = env_int("MAGI_PARTIAL_DAYS", 7, minimum=1, maximum=3650)
LLAMA_SERVER_PATH = env_str("LLAMA_SERVER_PATH", "")  # empty: on PATH, else embedded
LLAMA_SERVER_BUILDS = env_programs("LLAMA_SERVER_BUILDS", reserved="embedded")
MAGI_ALLOWED_EXTRA_ARGS = env_flags("MAGI_ALLOWED_EXTRA_ARGS")
MAGI_ALLOW_REMOTE_MEDIA = env_bool("MAGI_ALLOW_REMOTE_MEDIA", default=False)

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
TIME_ZONE = env_time_zone("MAGI_TIME_ZONE", "UTC")
FORMAT_MODULE_PATH = "magi_site.formats"
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
    "django.forms",  # its templates, for those of ours that stand in their place
    "axes",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "models_app",
    "profiles_app",
    "servers_app",
]
MIDDLEWARE = [
    "magi_site.request_ids.request_ids",
    "magi_site.headers.security_headers",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "magi_site.audit_door.audit_door",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
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
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": name}
    for name in (
        "django.contrib.auth.password_validation.MinimumLengthValidator",
        "django.contrib.auth.password_validation.CommonPasswordValidator",
        "django.contrib.auth.password_validation.NumericPasswordValidator",
        "models_app.logins.PasswordAudit",  # refuses none: it is told of those that are set
    )
]
X_FRAME_OPTIONS = "DENY"

# -- TLS, which a reverse proxy speaks: magi_site/asgi.py believes its X-Forwarded-Proto
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = MAGI_TLS == "proxy"
MAGI_HSTS_SECONDS = env_int("MAGI_HSTS_SECONDS", 31536000, minimum=0, maximum=63072000)
SECURE_HSTS_SECONDS = MAGI_HSTS_SECONDS if MAGI_TLS == "proxy" else 0
CSRF_COOKIE_HTTPONLY = True  # forms have the token in them
SILENCED_SYSTEM_CHECKS = [
    # MAGI speaks for the name that it is called by: for no name below that, and in no
    # browser's list of names.
    "security.W005",
    "security.W021",
]
if MAGI_TLS == "off" and MAGI_HOST in LOOPBACK_HOSTS:
    # What TLS protects stays on this machine. Beyond it, magi_site.W002 speaks as well.
    SILENCED_SYSTEM_CHECKS += [
        "security.W004",  # HSTS
        "security.W008",  # redirect to https
        "security.W012",  # Secure on the session's cookie
        "security.W016",  # and on that of CSRF
    ]

# -- bounds of what Django reads; magi_site/bodies.py bounds the whole body
DATA_UPLOAD_MAX_MEMORY_SIZE = 2621440  # bytes of a form
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # a profile of a thousand models is one form
DATA_UPLOAD_MAX_NUMBER_FILES = 10

# -- sign-in. Counted in the database: for all web processes, and without Redis
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# Both together: whoever guesses from elsewhere shuts nobody out of an own account.
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # what the page says stays true
AXES_RESET_ON_SUCCESS = True
AXES_LOCKOUT_CALLABLE = "magi_site.login.locked_out"
AXES_CLIENT_STR_CALLABLE = "magi_site.login.client_in_logs"
AXES_CLIENT_IP_CALLABLE = "magi_site.login.address"
AXES_DISABLE_ACCESS_LOG = True
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
WHITENOISE_USE_FINDERS = True  # served from where they lie: no collectstatic step
WHITENOISE_AUTOREFRESH = False
WHITENOISE_ALLOW_ALL_ORIGINS = False

MAGI_DATABASE_CONNECTIONS = env_int("MAGI_DATABASE_CONNECTIONS", 40, minimum=4, maximum=1000)
DATABASES = {
    "default": database_from_url(
        env_str("DATABASE_URL", ""), MAGI_DATA_DIR, connections=MAGI_DATABASE_CONNECTIONS
    )
}

# -- Celery. Redis is a unix socket of our own unless REDIS_URL names a server.
OWN_REDIS = not os.environ.get("REDIS_URL")
REDIS_URL = env_str("REDIS_URL", f"unix://{quote(str(MAGI_RUN_DIR / 'redis.sock'))}")
CELERY_BROKER_URL = broker_url(REDIS_URL)
CELERY_RESULT_BACKEND = (
    f"models_app.broker:PolledResults+{CELERY_BROKER_URL.removeprefix('redis+')}"
)
CELERY_RESULT_BACKEND_THREAD_SAFE = True  # one for all threads; each request has its own
CELERY_REDIS_SOCKET_TIMEOUT = 0.5  # of results; a worker tries again to write one
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 0.5
CELERY_RESULT_EXPIRES = 3600  # seconds
# What is once for all of MAGI: any worker takes it. All else names its node's queue.
CELERY_TASK_DEFAULT_QUEUE = "cluster"
CELERY_TASK_ACKS_LATE = True  # every task is safe to run twice
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_RETRY = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for as long as it takes
# Downloads and loads go on while Redis is away: they need it for nothing.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_TRANSPORT_OPTIONS = REDIS
CELERY_BEAT_SCHEDULE_FILENAME = str(MAGI_RUN_DIR / "beat-schedule")
# What each node's worker does for its node, and how often: seconds by task. The worker's own
# heartbeat is the clock (servers_app/node_clock.py), so that no node needs another process.
NODE_SCHEDULE = {
    "servers_app.tasks.reconcile": 5,
    "servers_app.cluster.tasks.watch_nodes": 5,
    "servers_app.manager.tasks.finish_switches": 5,
    "models_app.tasks.resume_downloads": 10,
    "servers_app.tasks.take_up": 30,
    # Benchmarks that a queue never told of, and those whose worker has died.
    "servers_app.tasks.measure": 30,
    "servers_app.manager.tasks.note_performance": 3600,  # anew when older than a day
    "magi_site.tasks.prune_node": 3600,
}
# What is once for all of MAGI. Several beats do no harm: each of these may run twice.
PRUNE_SECONDS = 3600
CELERY_BEAT_SCHEDULE = {
    "prune": {
        "task": "magi_site.tasks.prune",
        "schedule": PRUNE_SECONDS,
        "options": {"expires": PRUNE_SECONDS - 1},
    },
}

REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["magi_site.api_access.MayCall"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "magi_site.api_keys.KeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["magi_site.api_keys.KeyThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["models_app.json_body.BoundedJSONParser"],
    "EXCEPTION_HANDLER": "magi_site.api_errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "magi_site.schema.MagiSchema",
    "SCHEMA_COERCE_PATH_PK": False,  # a path's parameters are called what its view calls them
}

# -- the OpenAPI document at /api/schema/, and its page at /api/docs/
SPECTACULAR_SETTINGS = {
    "TITLE": "MAGI",
    "VERSION": MAGI_VERSION,
    "OAS_VERSION": "3.1.0",
    "DESCRIPTION": "The REST API of MAGI, a control plane for local language models.",
    "SCHEMA_PATH_PREFIX": "/api",
    "COMPONENT_SPLIT_REQUEST": True,  # what is sent may have less in it than what is answered
    "SWAGGER_UI_DIST": "SIDECAR",  # served from here: the page works without a network
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "magi_site.schema.complete",
    ],
    # One name for each set of words, whichever fields have them.
    "ENUM_NAME_OVERRIDES": {
        "TierEnum": "models_app.models.Tier",
        "ModelKindEnum": "models_app.models.ModelKind",
        "ServerStateEnum": "servers_app.models.ServerState",
        "WantedEnum": "servers_app.models.Wanted",
        "NodeStateEnum": "servers_app.node_list.NodeState",
        "HealthEnum": "magi_site.operations.component.Health",
        "StartStatusEnum": ["started", "already_running"],
        "StopStatusEnum": ["stopped", "not_running"],
        "BenchmarkKindEnum": "servers_app.benchmark_models.BenchmarkKind",
        "BenchmarkStateEnum": "servers_app.benchmark_models.BenchmarkState",
        "DownloadSourceEnum": "models_app.download_models.DownloadSource",
        "DownloadStateEnum": "models_app.download_models.DownloadState",
        "HubCheckStateEnum": ["same", "other", "gone", "unknown"],
    },
}

# -- the log. magi_site/log_setup.py
MAGI_LOG_FORMAT = env_choice("MAGI_LOG_FORMAT", "line", choices=("line", "json"))
MAGI_REQUEST_LINES = env_bool("MAGI_REQUEST_LINES", default=MAGI_LOG_FORMAT == "json")
LOGGING_CONFIG = "magi_site.log_setup.configure"
MAGI_LOG_LEVEL = env_choice(
    "MAGI_LOG_LEVEL", "info", choices=("debug", "info", "warning", "error")
)
LOGGING = logging_config(MAGI_LOG_FORMAT, MAGI_LOG_LEVEL.upper(), MAGI_NODE)
