"""What lies in MAGI_DATA_DIR before Django is up: the secret key, the sockets."""

import hashlib
import os
import secrets
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

# sun_path of sockaddr_un holds 104 bytes on macOS and 108 on Linux, with its NUL.
MAX_SOCKET_PATH_BYTES = 103
LONGEST_SOCKET_NAME = "redis.sock"
UNREADABLE_REDIS = (
    "REDIS_URL cannot be read; use redis://HOST:PORT/NUMBER, rediss:// or unix:///PATH."
)


def runtime_dir(data_dir: Path) -> Path:
    """Return where sockets and pid files go: `data_dir/run`.

    A unix socket's path is short; when `data_dir` is too deep for one, a folder
    in the system's temporary directory stands in, its name made from `data_dir`.
    """
    inside = data_dir / "run"
    if len(os.fsencode(inside / LONGEST_SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"magi-{os.getuid()}-{digest}"


def make_private_dir(path: Path) -> None:
    """Create `path` with mode 0700, or make sure that it is ours and writeable.

    Raises:
        ImproperlyConfigured: it cannot be created or written, or is another user's.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.stat().st_uid
    except OSError as error:
        msg = (
            f"{path} cannot be created: {error.strerror}. Set MAGI_DATA_DIR to your own folder."
        )
        raise ImproperlyConfigured(msg) from error
    if owner != os.getuid() and path.parent == Path(tempfile.gettempdir()):
        msg = f"{path} belongs to another user. Set MAGI_DATA_DIR to a shorter path."
        raise ImproperlyConfigured(msg)
    if not os.access(path, os.W_OK | os.X_OK):
        msg = f"{path} is not writeable. Set MAGI_DATA_DIR to a folder you own."
        raise ImproperlyConfigured(msg)


def ensure_secret_key(data_dir: Path) -> str:
    """Return the key in `data_dir/secret_key`, made on the first call (mode 0600).

    Several processes may start at once: the one that links its file first wins,
    and all of them read that one.

    Raises:
        ImproperlyConfigured: the folder or the file cannot be read or written.
    """
    path = data_dir / "secret_key"
    if not path.exists():
        _make_secret_key(path)
    try:
        key = path.read_text().strip()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}. Set MAGI_SECRET_KEY or MAGI_DATA_DIR."
        raise ImproperlyConfigured(msg) from error
    if not key:
        msg = f"{path} is empty. Remove it to have another key made, or set MAGI_SECRET_KEY."
        raise ImproperlyConfigured(msg)
    return key


def _make_secret_key(path: Path) -> None:
    make_private_dir(path.parent)
    try:
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".secret_key.") as file:
            file.write(secrets.token_urlsafe(50) + "\n")
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, path)
    except FileExistsError:
        pass
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}. Set MAGI_DATA_DIR."
        raise ImproperlyConfigured(msg) from error


def broker_url(redis_url: str) -> str:
    """Return `redis_url` as Celery spells it (kombu says redis+socket for unix).

    Raises:
        ImproperlyConfigured: no Redis client knows the scheme, or what follows is no address.
            The message never repeats that, which may hold a password.

    >>> broker_url("unix:///run/redis.sock")
    'redis+socket:///run/redis.sock'
    """
    try:
        parts = urlsplit(redis_url)
        is_usable = parts.port != 0
    except ValueError as error:  # half an IPv6 address, or a port that is none
        raise ImproperlyConfigured(UNREADABLE_REDIS) from error
    if parts.scheme not in {"redis", "rediss", "unix"}:
        msg = f"REDIS_URL begins with {parts.scheme!r}; use redis://, rediss:// or unix://."
        raise ImproperlyConfigured(msg)
    path = parts.path.removeprefix("/")
    is_socket = parts.scheme == "unix"
    # Celery refuses a database that is no number; other clients take the first one instead.
    if not (is_usable and (path if is_socket else path.isdecimal() or not path)):
        raise ImproperlyConfigured(UNREADABLE_REDIS)
    return "redis+socket" + redis_url.removeprefix("unix") if is_socket else redis_url
