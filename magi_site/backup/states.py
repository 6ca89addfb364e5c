"""After a restore: what is wanted stays wanted, and nothing is said to run."""

from dataclasses import dataclass, replace
from typing import Any, Final

from django.utils import timezone

from models_app.download_models import UNDER_WAY, Download, DownloadState
from models_app.models import Scan, ScanState
from servers_app.benchmark_models import BENCHMARK_UNDER_WAY, Benchmark, BenchmarkState
from servers_app.comparison_models import Comparison
from servers_app.manager_models import SwitchRequest
from servers_app.models import Node, Server, ServerEvent, ServerState, Wanted

# What a row says of a process, which is none of a machine that was restored.
_NO_PROCESS: Final[dict[str, Any]] = {
    "state": ServerState.STOPPED,
    "pid": None,
    "pid_started_at": None,
    "keeper_pid": None,
    "keeper_started_at": None,
    "boot_id": "",
    "restart_requested_at": None,
    "drain_until": None,
    "health_at": None,
    "progressed_at": None,
    "load_progress": None,
    "failed_at": [],
    "next_start_at": None,
    "unreachable_since": None,
    "note": "",
}


@dataclass(frozen=True, slots=True)
class Left:
    """What a worker will take up."""

    servers: int = 0
    downloads: int = 0
    measurements: int = 0  # benchmarks and comparisons


def nothing_runs(made_at: str) -> Left:
    """Have no row say that a process runs; return what is wanted all the same."""
    now = timezone.now()
    told = [
        ServerEvent(
            server=server,
            kind=ServerEvent.Kind.STATE,
            who="restore",
            why=f"restored from the backup of {made_at}",
            from_state=server.state,
            to_state=ServerState.STOPPED,
        )
        for server in Server.objects.exclude(state=ServerState.STOPPED).only("pk", "state")
    ]
    ServerEvent.objects.bulk_create(told, batch_size=1000)
    Server.objects.exclude(state=ServerState.STOPPED).update(stopped_at=now, state_since=now)
    Server.objects.update(**_NO_PROCESS)
    Node.objects.update(heartbeat_at=None, started_at=None, boot_id="", worker_pid=None)
    Scan.objects.filter(state=ScanState.RUNNING).update(state=ScanState.INTERRUPTED)
    return Left(
        servers=Server.objects.filter(wanted=Wanted.RUNNING).count(),
        downloads=Download.objects.filter(state__in=UNDER_WAY).count(),
        measurements=Benchmark.objects.filter(state__in=BENCHMARK_UNDER_WAY).count()
        + Comparison.objects.filter(state__in=BENCHMARK_UNDER_WAY).count(),
    )


def stop_all(left: Left) -> Left:
    """Have nothing be wanted that would start by itself; return what is left of that."""
    now = timezone.now()
    Server.objects.update(wanted=Wanted.STOPPED, on_request=False)
    Download.objects.filter(state__in=UNDER_WAY).update(
        state=DownloadState.CANCELLED, is_wanted=False, finished_at=now
    )
    for model in (Benchmark, Comparison):
        model.objects.filter(state__in=BENCHMARK_UNDER_WAY).update(
            state=BenchmarkState.CANCELLED, is_wanted=False, finished_at=now
        )
    SwitchRequest.objects.all().delete()  # each waits for a download
    return replace(left, servers=0, downloads=0, measurements=0)
