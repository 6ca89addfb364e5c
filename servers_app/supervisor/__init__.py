"""What a worker does for its servers: bring what is to what is wanted.

The one room that writes `Server.state`. `settle` may be called at any time, any number
of times, in any process of the node: one call at a time works on a server (a lock that
the kernel drops with its holder), the others leave at once, and a call that dies is
carried on by the next one, from what the database and the keeper's files say.
"""

from servers_app.supervisor.settling import reconcile, settle, unsettled

__all__ = ["reconcile", "settle", "unsettled"]
