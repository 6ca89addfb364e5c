"""Errors raised by servers_app.

ServersError
├── ApiKeyError                what is said of a key cannot be done
│   ├── ApiKeyInvalidError     a key cannot be made so
│   └── ApiKeyNotFoundError    there is no such key, or it is revoked already
├── EngineError                no llama-server that can be run
├── LaunchError                a process was not started
├── NoFreePortError            every port of the range is in use
└── NotLaunchableError         the model's files are missing or broken
"""


class ServersError(Exception):
    """Base class of every error this app raises on purpose."""


class ApiKeyError(ServersError):
    """Base class of the errors of API keys."""


class ApiKeyInvalidError(ApiKeyError):
    """A key cannot be made as it was asked for; the message says what is accepted."""


class ApiKeyNotFoundError(ApiKeyError):
    """No key that could be revoked goes by that name or prefix."""


class EngineError(ServersError):
    """The llama-server cannot be run, or does not answer like one; the message says which."""


class LaunchError(ServersError):
    """The keeper could not start llama-server; the message says why."""


class NoFreePortError(ServersError):
    """Every port of MODEL_PORT_RANGE_START to _END is claimed or taken."""


class NotLaunchableError(ServersError):
    """The model is missing from the disk, incomplete or broken."""
