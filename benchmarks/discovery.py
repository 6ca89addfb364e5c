"""How fast discovery is, as ratios of one run: `python -m benchmarks.discovery`.

The cache is made in a temporary folder (2 GB of disk for 5,000 files; $TMPDIR says where)
and the registry is a SQLite database beside it. Seconds differ between machines and hours;
a ratio to the floor of the same run does so far less. The floor is what no reader can do
without: to list and stat every file, and for a first scan to read the bytes of its header,
from the disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks import headers
from benchmarks.cache import Cache, make_cache

console = Console()

REPEATS = 3  # of which the fastest counts: the others were disturbed


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement beside its floor."""

    what: str
    seconds: float
    floor_seconds: float
    target: float | None  # at most this many times the floor

    @property
    def ratio(self) -> float:
        return self.seconds / self.floor_seconds


def main() -> None:
    arguments = _arguments()
    if arguments.peak_of is not None:
        _print_peak(arguments.peak_of)
        return
    with tempfile.TemporaryDirectory(prefix="magi-benchmark-") as name:
        folder = Path(name)
        made = make_cache(folder / "hub", arguments.files, big_every=arguments.big_every)
        results = _measure(made, folder, is_cold=not arguments.warm)
    if arguments.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
    else:
        _print(results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast discovery is, against its floor.")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument(
        "--big-every", type=int, default=50, help="one file in this many has 150,000 tokens"
    )
    parser.add_argument(
        "--warm",
        action="store_true",
        help="leave the files in the page cache, where those of a first scan never are",
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak-of", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(made: Cache, folder: Path, *, is_cold: bool) -> dict[str, Any]:
    peak = _peak_mib(folder)  # in a process of its own, with a database of its own
    _set_up_django(folder / "data", made.root)
    from django.db import connection  # noqa: PLC0415 - it takes the settings made above
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from models_app.discovery import HUGGINGFACE, RootSpec, discover  # noqa: PLC0415
    from models_app.models import DiscoveredModel, ScanMemory  # noqa: PLC0415
    from models_app.registry import rescan  # noqa: PLC0415

    def before() -> None:
        if is_cold:
            _forget(made.header_bytes)

    def empty_registry() -> None:
        before()
        DiscoveredModel.objects.all().delete()
        ScanMemory.objects.all().delete()

    roots = [RootSpec(made.root, HUGGINGFACE)]

    def touch_one() -> None:
        os.utime(next(iter(made.header_bytes)))

    found = discover(roots)
    walk = _fastest(lambda: _walk_and_stat(made.root))
    read = _fastest(lambda: _walk_and_read(made), before)
    rows = [
        Row("discover(), first", _fastest(lambda: discover(roots), before), read, 3),
        Row("rescan(), first", _fastest(lambda: rescan("local"), empty_registry), read, 3),
        Row("rescan(), unchanged", _fastest(lambda: rescan("local")), walk, 2),
        Row("rescan(), one changed", _fastest(lambda: rescan("local"), touch_one), walk, None),
    ]
    with CaptureQueriesContext(connection) as queries:
        report = rescan("local")
    return {
        "cache": {
            "files": made.files,
            "big_vocabularies": made.big_vocabularies,
            "broken": made.broken,
            "projectors": made.projectors,
            "split_models": made.split_models,
            "header_mib": round(sum(made.header_bytes.values()) / 2**20),
            "is_cold": is_cold,
        },
        "found": {"models": len(found.models), "skipped": len(found.skipped)},
        "floor_seconds": {"walk + stat": walk, "walk + stat + header bytes": read},
        "scans": [asdict(row) | {"ratio": row.ratio} for row in rows],
        "unchanged_rescan_queries": len(queries),
        "unchanged": len(report.unchanged),
        "peak_mib": peak,
        "headers": headers.compare(folder),
    }


def _set_up_django(data: Path, root: Path) -> None:
    """Start Django with a registry of its own, in which no model is yet."""
    data.mkdir(exist_ok=True)
    os.environ.pop("DATABASE_URL", None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "magi_site.settings",
        "MAGI_DATA_DIR": str(data),
        "MODEL_SCAN_PATH": str(root),
    }
    import django  # noqa: PLC0415 - it reads the environment set above
    from django.core.management import call_command  # noqa: PLC0415

    django.setup()
    call_command("migrate", verbosity=0)


def _peak_mib(folder: Path) -> float:
    """Return the most memory that a first and an unchanged rescan take."""
    command = [sys.executable, "-m", "benchmarks.discovery", "--peak-of", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def _print_peak(folder: Path) -> None:
    _set_up_django(folder / "peak", folder / "hub")
    from models_app.registry import rescan  # noqa: PLC0415

    peaks: dict[int, float] = {}  # of the processes that a scan starts
    is_over = threading.Event()
    watcher = threading.Thread(target=_watch_children, args=(peaks, is_over))
    watcher.start()
    rescan("local")
    rescan("local")
    is_over.set()
    watcher.join()
    sys.stdout.write(f"{_peak_of('self') + sum(peaks.values()):.1f}\n")


def _watch_children(peaks: dict[int, float], is_over: threading.Event) -> None:
    while not is_over.wait(0.02):
        for child in psutil.Process().children(recursive=True):
            with suppress(OSError):
                peaks[child.pid] = _peak_of(str(child.pid))


def _peak_of(process: str) -> float:
    """Return a process's peak, in MiB. (getrusage's would include what its parent had.)"""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError


def _fastest(work: Callable[[], object], before: Callable[[], None] | None = None) -> float:
    seconds = []
    for _ in range(REPEATS):
        if before is not None:
            before()
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _walk_and_stat(root: Path) -> int:
    """List every snapshot of a cache and stat its files, as fast as Python does it."""
    count = 0
    folders = [
        f"{entry.path}/snapshots" for entry in os.scandir(root) if entry.name[:8] == "models--"
    ]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.name.endswith(".gguf"):
                    count += entry.stat().st_size > 0
    return count


def _walk_and_read(made: Cache) -> int:
    """Walk and stat, then read each header once, with nothing made of it."""
    _walk_and_stat(made.root)
    count = 0
    for path, size in made.header_bytes.items():
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        count += len(os.pread(file, size, 0))
        os.close(file)
    return count


def _forget(paths: Iterable[Path]) -> None:
    """Have the kernel drop what it keeps of the files in memory."""
    for path in paths:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.fdatasync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def _print(results: dict[str, Any]) -> None:
    made, found = results["cache"], results["found"]
    console.print(
        f"{made['files']:,} files, {made['header_mib']:,} MiB of headers, "
        f"{made['big_vocabularies']} of 150,000 tokens: "
        f"{found['models']:,} models, {found['skipped']:,} skipped"
        f"{' (cold: not in the page cache)' if made['is_cold'] else ''}"
    )
    table = Table("", "ms", "floor, ms", "ratio", "at most")
    for row in results["scans"]:
        numbers = [row["seconds"] * 1000, row["floor_seconds"] * 1000]
        table.add_row(
            row["what"],
            *[f"{number:,.0f}" for number in numbers],
            f"[bold]{row['ratio']:.2f}[/]",
            f"{row['target']:g}" if row["target"] else "-",
        )
    console.print(table)
    console.print(
        f"Unchanged rescan: {results['unchanged']:,} models, "
        f"{results['unchanged_rescan_queries']} queries. "
        f"Peak memory of both rescans: {results['peak_mib']:.0f} MiB."
    )
    headers.show(console, results["headers"])


if __name__ == "__main__":
    main()
