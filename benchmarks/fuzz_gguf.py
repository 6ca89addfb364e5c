"""Fuzz the header reader with atheris: `python -m benchmarks.fuzz_gguf -max_total_time=120`.

Arguments are libFuzzer's. What must hold for any bytes: no error but ours, and a reading
that jumps over strings says what one that steps over them says, if that one says anything.
libFuzzer itself stops at a timeout and at too much memory: -timeout=1 -rss_limit_mb=512.
"""

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.cache import gguf_header

atheris: Any = importlib.import_module("atheris")  # benchmarks/requirements.txt has it

with atheris.instrument_imports(include=["models_app"]):
    from models_app import gguf
    from models_app.errors import GGUFError
    from models_app.gguf_info import GGUFInfo

_TEMPLATE_WORDS = b"{% if tools %}{% if enable_thinking %}"
_HOLE_BYTES = 1024 * 1024  # behind the header, so that its lengths may be true


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="magi-fuzz-") as name:
        folder = Path(name)
        corpus = folder / "corpus"
        corpus.mkdir()
        header = gguf_header("Fuzzed-7B", vocabulary=gguf.MIN_JUMP + 1).raw
        (corpus / "header").write_bytes(header)
        (corpus / "tokenizer").write_bytes(header[: header.index(b"blk.0.")])
        (corpus / "template").write_bytes(header[:400] + _TEMPLATE_WORDS)
        path = folder / "fuzzed.gguf"

        def test(raw: bytes) -> None:
            _test(path, raw)

        # libFuzzer leaves with _exit(), so the folder outlives it; /tmp is where it belongs.
        atheris.Setup([sys.argv[0], *sys.argv[1:], str(corpus)], test)
        atheris.Fuzz()


def _test(path: Path, raw: bytes) -> None:
    path.write_bytes(raw)
    os.truncate(path, len(raw) + _HOLE_BYTES)
    jumped = _read(path)
    if jumped is None:
        return
    for name in dir(jumped):  # no property raises either
        getattr(jumped, name)
    stepped = _read(path, is_thorough=True)
    if stepped is not None and stepped != jumped:
        message = f"{jumped} by jumping, {stepped} by stepping"
        raise AssertionError(message)


def _read(path: Path, *, is_thorough: bool = False) -> GGUFInfo | None:
    try:
        return gguf.read_gguf(path, is_thorough=is_thorough)
    except GGUFError:
        return None


if __name__ == "__main__":
    main()
