"""Errors raised by servers_app.

ServersError
├── ApiKeyError                what is said of a key cannot be done
│   ├── ApiKeyInvalidError     a key cannot be made so
│   └── ApiKeyNotFoundError    there is no such key, or it is revoked already
├── ComparisonError            what is asked of a comparison cannot be done
│   ├── ComparisonInvalidError a comparison or a vote cannot be made so
│   └── ComparisonNotFoundError  there is no such comparison
├── BenchmarkError             a model could not be measured
│   ├── BenchmarkInvalidError  a benchmark, or a comparison of two, cannot be asked for so
│   ├── BenchmarkNotFinishedError  it has no figures yet, or never will
│   ├── BenchmarkNotFoundError there is no such benchmark
│   └── BenchmarkCancelledError nobody wants it any more
├── EngineError                no llama-server that can be run
│   └── EngineSilentError      it was killed, or too slow, when it was asked
├── LaunchError                a process was not started
├── ManagerError               what the model manager is asked for cannot be done
│   ├── UnknownTaskKindError   no such kind of task
│   ├── NoSuitableModelError   no model can do a task
│   ├── UnknownNameError       no model goes by that name
│   ├── NotSwitchableError     a model is not enabled, and cannot be
│   └── AmbiguousNameError     several models go by that name
├── NodeError                  what a node was to do or to be cannot be
│   ├── NodeNotSilentError     a node is there still, or has servers that are wanted
│   ├── NodeNotJoinedError     a worker cannot work for its node
│   └── NodeTakenError         another worker is that node
├── NoFreePortError            every port of the range is in use
├── NoNodeError                no node may have a server
├── NotLaunchableError         the model's files are missing or broken
├── RecommendationError        nothing can be recommended
│   ├── NoHardwareError        nobody knows what a node has, or there is no such node
│   └── NothingFitsError       no model can do a task within a node's memory
└── TuningError                what is asked of a search for run settings cannot be done
    ├── TuningInvalidError     it cannot be searched so
    └── TuningNotAppliedError  it has found nothing that could be applied
"""

from collections.abc import Sequence

MAX_SHOWN_CHARS = 100  # of what somebody sent


class ServersError(Exception):
    """Base class of every error this app raises on purpose."""


class ApiKeyError(ServersError):
    """Base class of the errors of API keys."""


class ApiKeyInvalidError(ApiKeyError):
    """A key cannot be made as it was asked for; the message says what is accepted."""


class ApiKeyNotFoundError(ApiKeyError):
    """No key that could be revoked goes by that name or prefix."""


class ComparisonError(ServersError):
    """Base class of the errors of comparisons."""


class ComparisonInvalidError(ComparisonError):
    """A comparison or a vote is not as it must be; the message says what is accepted."""


class ComparisonNotFoundError(ComparisonError):
    """There is no comparison, or no prompt of one, of that number."""


class BenchmarkError(ServersError):
    """A model could not be measured; the message says why."""


class BenchmarkInvalidError(BenchmarkError):
    """What was asked for cannot be measured or compared; the message says what can."""


class BenchmarkNotFinishedError(BenchmarkError):
    """A benchmark has no figures that could be compared or applied."""


class BenchmarkNotFoundError(BenchmarkError):
    """No benchmark has that number."""


class BenchmarkCancelledError(BenchmarkError):
    """Somebody wanted it no more while it ran."""

    def __init__(self, message: str = "It was cancelled.") -> None:
        super().__init__(message)


class EngineError(ServersError):
    """The llama-server cannot be run, or does not answer like one; the message says which."""


class EngineSilentError(EngineError):
    """The llama-server did not come to an answer; another time it may."""


class LaunchError(ServersError):
    """The keeper could not start llama-server; the message says why.

    Permanent is what would be the same if it were tried again: a program that cannot be run.
    """

    def __init__(self, message: str, *, is_permanent: bool = False) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent


class ManagerError(ServersError):
    """Base class of the errors of choosing and switching models."""


class UnknownTaskKindError(ManagerError):
    def __init__(self, task: str, tasks: Sequence[str]) -> None:
        super().__init__(
            f"There is no task {task[:MAX_SHOWN_CHARS]!r}. Available: {', '.join(tasks)}."
        )


class NoSuitableModelError(ManagerError):
    """No model here can do a task; the message says which would."""


class UnknownNameError(ManagerError):
    """No model goes by that name; the message says what there is."""


class NotSwitchableError(ManagerError):
    """A model is not enabled, and there is no profile to enable it in."""


class AmbiguousNameError(ManagerError):
    """Several models go by that name; the message names them."""


class NoFreePortError(ServersError):
    """Every port of MODEL_PORT_RANGE_START to _END is claimed or taken."""


class NoNodeError(ServersError):
    """No node may have a server; the message says of each why not."""


class NotLaunchableError(ServersError):
    """The model is missing from the disk, incomplete or broken."""


class RecommendationError(ServersError):
    """Base class of the errors of recommending; the message says what to do."""


class NoHardwareError(RecommendationError):
    """There is no such node, it has not said what it has, or a file does not say it."""


class NothingFitsError(RecommendationError):
    """No profile can be made: no model of a node suits a task and fits there."""


class TuningError(ServersError):
    """Base class of the errors of searches for run settings."""


class TuningInvalidError(TuningError):
    """A search cannot be made as it was asked for; the message says what is accepted."""


class TuningNotAppliedError(TuningError):
    """A search is not over, or ended in no settings that are better."""


class NodeError(ServersError):
    """Base class of the errors of nodes."""


class NodeNotSilentError(NodeError):
    """A node cannot be forgotten: it is there still, or something is wanted of it."""


class NodeNotJoinedError(NodeError):
    """A worker cannot begin to work for its node; the message is a sentence that says why."""


class NodeTakenError(NodeError):
    def __init__(self, name: str, address: str) -> None:
        super().__init__(
            f"Another worker is node {name} already, at {address}, and alive. Give this "
            "machine a MAGI_NODE of its own; or, if it is to take the other's place, end that "
            "worker: 20 s after its last word this one may."
        )
