"""How long the registry's calls take: `python -m benchmarks.registry`.

Ten thousand models in a SQLite database in a temporary folder, or in the PostgreSQL that
DATABASE_URL names (an empty database). Each call is made in this process, without a socket,
and stands beside its floor: to fetch the same columns of the same rows, and to write them as
JSON.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

REPEATS = 7
CALLS = (
    "registry",
    "registry?tier=fast",
    "registry?q=qwen77&ordering=-size_bytes",
    "registry?page=50",
    "tiers/powerful",
    "qwen77_4p0b_q4km_fast",
    "qwen77_4p0b_q4km_slow",  # is not there: the nearest ids are looked for
)


@dataclass(frozen=True, slots=True)
class Row:
    call: str
    status: int
    queries: int
    bytes: int
    seconds: float  # the fastest
    median_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="magi-benchmark-") as name:
        _set_up(Path(name))
        floor, rows = _measure(arguments.models)
    if arguments.json:
        result = {"floor_seconds": floor, "calls": [asdict(row) for row in rows]}
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
        return
    table = Table("GET /api/models/…", "Status", "Queries", "kB", "Fastest", "Median", box=None)
    for row in rows:
        table.add_row(
            row.call,
            str(row.status),
            str(row.queries),
            f"{row.bytes / 1000:,.0f}",
            f"{row.seconds * 1000:,.0f} ms",
            f"{row.median_seconds * 1000:,.0f} ms",
        )
    ratio, floor_ms = f"{rows[0].seconds / floor:.1f}", f"{floor * 1000:,.0f} ms"
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(
        f"All {arguments.models:,} models take {ratio} times the floor of {floor_ms}."
    )


def _set_up(folder: Path) -> None:
    """Set up Django on a database of this run."""
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "magi_site.settings",
        "MAGI_ENV_FILE": os.devnull,
        "MAGI_DATA_DIR": str(folder),
    }
    import django  # noqa: PLC0415 - reads the environment

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)


def _measure(count: int) -> tuple[float, list[Row]]:
    from django.db import connection  # noqa: PLC0415 - Django is set up now
    from django.test import Client  # noqa: PLC0415
    from django.test.utils import CaptureQueriesContext  # noqa: PLC0415

    from models_app.models import DiscoveredModel  # noqa: PLC0415
    from models_app.serializers import ModelSerializer  # noqa: PLC0415

    _make_models(count)
    columns = [name for name in ModelSerializer.Meta.fields if name != "tier"]
    floor, _ = _times(lambda: json.dumps(list(DiscoveredModel.objects.values_list(*columns))))
    client, rows = Client(headers={"host": "localhost"}), []
    for call in CALLS:
        url = f"/api/models/{call}"
        with CaptureQueriesContext(connection) as queries:
            response = client.get(url)
        asked = len(queries)  # before the next request, which forgets them
        seconds, median = _times(partial(client.get, url))
        rows.append(
            Row(call, response.status_code, asked, len(response.content), seconds, median)
        )
    return floor, rows


def _make_models(count: int) -> None:
    from models_app.models import DiscoveredModel, Tier  # noqa: PLC0415 - Django is set up

    metadata = {"chat_template": "x" * 3500, "block_count": 36}
    rows = [
        DiscoveredModel(
            model_id=f"qwen{number}_4p0b_q4km_fast",
            identity=f"hf:org{number}/Qwen{number}-GGUF:Qwen{number}-4B-Q4_K_M.gguf",
            file_path=f"/hub/models--org{number}/snapshots/{number:040x}/Qwen-4B-Q4_K_M.gguf",
            blob_path=f"/hub/blobs/{number:064x}",
            filename=f"Qwen{number}-4B-Q4_K_M.gguf",
            repo_id=f"org{number}/Qwen{number}-GGUF",
            family="qwen",
            version=str(number),
            display_name=f"QWEN{number} 4.0B Q4_K_M",
            size_params=4.0,
            quantization="Q4_K_M",
            assigned_tier=Tier.values[number % len(Tier.values)],
            architecture="qwen3",
            context_length=40_960,
            parameter_count=4_022_468_096,
            size_bytes=2_497_281_312 + number,
            memory_bytes=7_516_192_768,
            metadata=metadata,
        )
        for number in range(count)
    ]
    DiscoveredModel.objects.bulk_create(rows, batch_size=200)


def _times(run: Callable[[], object]) -> tuple[float, float]:
    """Return the fastest of several runs, and the one in the middle."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds), statistics.median(seconds)


if __name__ == "__main__":
    main()
