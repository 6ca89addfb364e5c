"""Errors raised by servers_app.

ServersError
├── EngineError                no llama-server that can be run
├── LaunchError                a process was not started
├── NoFreePortError            every port of the range is in use
└── NotLaunchableError         the model's files are missing or broken
"""


class ServersError(Exception):
    """Base class of every error this app raises on purpose."""


class EngineError(ServersError):
    """The llama-server cannot be run, or does not answer like one; the message says which."""


class LaunchError(ServersError):
    """The keeper could not start llama-server; the message says why."""


class NoFreePortError(ServersError):
    """Every port of MODEL_PORT_RANGE_START to _END is claimed or taken."""


class NotLaunchableError(ServersError):
    """The model is missing from the disk, incomplete or broken."""
