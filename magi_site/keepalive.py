"""How long a connection that does not answer is believed, to PostgreSQL and to Redis.

A network that is cut says nothing: packets are lost, and a socket that nobody asked otherwise
waits for two hours. With these both ends give up after ten seconds or so.
"""

import socket
from typing import Any, Final

IDLE_S: Final = 5  # without a word, and the other end is asked
INTERVAL_S: Final = 2
COUNT: Final = 3  # questions without an answer
UNANSWERED_MS: Final = 10_000  # of what was sent

POSTGRESQL: Final[dict[str, Any]] = {
    "connect_timeout": 5,  # seconds
    "keepalives": 1,
    "keepalives_idle": IDLE_S,
    "keepalives_interval": INTERVAL_S,
    "keepalives_count": COUNT,
    "tcp_user_timeout": UNANSWERED_MS,
    # The server's end: what a node that is gone was about to change is locked until then.
    "options": (
        f"-c tcp_keepalives_idle={IDLE_S} -c tcp_keepalives_interval={INTERVAL_S} "
        f"-c tcp_keepalives_count={COUNT} -c tcp_user_timeout={UNANSWERED_MS}"
    ),
}

# Of a worker, which listens. Whoever waits for an answer has models_app/broker.py.
REDIS: Final[dict[str, Any]] = {
    "socket_connect_timeout": 2,  # seconds, as the next
    "socket_timeout": 5,  # above a BRPOP's second
    "health_check_interval": 5,  # that the answer to a BRPOP may be overdue
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value  # not every system has them all
        for name, value in (
            ("TCP_KEEPIDLE", IDLE_S),
            ("TCP_KEEPINTVL", INTERVAL_S),
            ("TCP_KEEPCNT", COUNT),
            ("TCP_USER_TIMEOUT", UNANSWERED_MS),
        )
        if hasattr(socket, name)
    },
    "retry_on_timeout": True,
}
