#!/usr/bin/env python
"""A llama-server for what the real one cannot be made to do. STAND_IN_MODE chooses.

serve (default): ready at once.      silent: opens no port.
hang: answers 503, and stands still. load: answers 503, and takes more and more memory.
die: writes a reason and exits 1.    port taken: says so, and exits 1.
stranger: serves another model.      shrunk: has a smaller context than it was given.
busy: has a request in hand until a file `finish` lies beside it.
wedged: the same for ever, no token moves, and it ignores SIGTERM.
crash, quit: ready, and ends after a moment, with 3 or 0.
stubborn: ignores SIGTERM.           slow to go: takes a second to end.
parent: has a child of its own.
mute: takes a prompt, and never answers.
caching: reads less of a prompt than it was sent.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

HELP = """
-h,    --help, --usage                  print usage and exit
--version                               show version and build info
-m,    --model FNAME                    model path to load
-a,    --alias STRING                   set model name aliases
--host HOST                             ip address to listen
--port PORT                             port to listen
-c,    --ctx-size N                     size of the prompt context
-t,    --threads N                      number of CPU threads
-tb,   --threads-batch N                number of CPU threads for batches
-b,    --batch-size N                   logical maximum batch size
-ub,   --ubatch-size N                  physical maximum batch size
-ngl,  --gpu-layers, --n-gpu-layers N   number of layers in VRAM
-np,   --parallel N                     number of server slots
-kvu,  --kv-unified                     use a single unified KV buffer
-fa,   --flash-attn [on|off|auto]       set Flash Attention use
-ctk,  --cache-type-k TYPE              KV cache data type for K
-ctv,  --cache-type-v TYPE              KV cache data type for V
-lm,   --load-mode MODE                 how weights are loaded
--mmproj FILE                           path to a multimodal projector file
--lora FNAME                            path to LoRA adapter
--lora-scaled FNAME:SCALE,...           path to LoRA adapter with scaling
-md,   --model-draft FNAME              draft model
--spec-type TYPE                        type of speculative decoding
--jinja, --no-jinja                     whether to use jinja
--embedding, --embeddings               restrict to embeddings
--rerank, --reranking                   enable reranking
--slots, --no-slots                     expose slots
--metrics                               enable prometheus metrics
"""

mode = os.environ.get("STAND_IN_MODE", "serve")
if "--version" in sys.argv:
    sys.stderr.write("version: 0.6.0-dev (build 11434, commit 57a4d1f)\n")
    sys.exit(0)
if "--help" in sys.argv:
    sys.stdout.write(HELP)
    sys.exit(0)

flags = dict(zip(sys.argv[1::1], sys.argv[2::1], strict=False))
key = os.environ["LLAMA_API_KEY"]
tokens = count()


def is_busy() -> bool:
    if mode == "busy":
        return not Path(sys.argv[0]).with_name("finish").exists()
    return mode == "wedged"


def metrics() -> str:
    moved = 7 if mode == "wedged" else next(tokens)
    return (
        f"# TYPE llamacpp:requests_processing gauge\n"
        f"llamacpp:requests_processing {int(is_busy())}\nllamacpp:requests_deferred 0\n"
        f"llamacpp:n_decode_total {moved}\n"
    )


def props() -> dict[str, object]:
    n_ctx = 4096 if mode == "shrunk" else int(flags["--ctx-size"])
    return {
        "model_path": "/models/another.gguf" if mode == "stranger" else flags["--model"],
        "model_alias": flags["--alias"],
        "total_slots": int(flags["--parallel"]),
        "default_generation_settings": {"n_ctx": n_ctx},
        "build_info": "b11434-57a4d1f",
    }


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if mode in ("hang", "load"):
            self._answer(503, json.dumps({"error": {"message": "Loading model", "code": 503}}))
        elif self.path == "/health":
            self._answer(200, json.dumps({"status": "ok"}))
        elif self.headers.get("Authorization") != f"Bearer {key}":
            self._answer(401, json.dumps({"error": {"message": "Invalid API Key"}}))
        elif self.path == "/metrics":
            self._answer(200, metrics())
        else:
            self._answer(200, json.dumps(props()))

    def do_POST(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {key}":
            self._answer(401, json.dumps({"error": {"message": "Invalid API Key"}}))
            return
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if mode == "mute":
            time.sleep(600)
        if self.path == "/tokenize":
            self._answer(200, json.dumps({"tokens": [7, 8, 9]}))
        else:
            self._stream(len(asked["prompt"]), asked["n_predict"])

    def _stream(self, prompt_n: int, predicted_n: int) -> None:
        read = prompt_n - 1 if mode == "caching" else prompt_n
        events: list[dict[str, object]] = [
            {"content": "a", "stop": False} for _ in range(predicted_n)
        ]
        timings = {
            "prompt_n": read,
            "prompt_ms": 2.0 * read,
            "prompt_per_second": 500.0,
            "predicted_n": predicted_n,
            "predicted_ms": 10.0 * predicted_n,
            "predicted_per_second": 100.0,
        }
        events.append({"content": "", "stop": True, "timings": timings})
        self.send_response(200)
        self.end_headers()
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: object) -> None: ...


def grow() -> None:
    pieces = []
    while True:
        pieces.append(b"x" * 2**20)
        time.sleep(0.02)


def end_soon() -> None:
    time.sleep(0.5)
    os._exit(3 if mode == "crash" else 0)


def leave_slowly() -> None:
    time.sleep(1)
    os._exit(0)


if mode == "die":
    sys.stderr.write("error: invalid argument: --stand-in\n")
    sys.exit(1)
if mode == "port taken":
    sys.stderr.write(
        f"couldn't bind HTTP server socket, hostname: 127.0.0.1, port: {flags['--port']}\n"
    )
    sys.exit(1)
if mode in ("stubborn", "wedged"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif mode == "slow to go":
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=leave_slowly).start())
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if mode == "silent":
    time.sleep(600)
if mode == "load":
    threading.Thread(target=grow, daemon=True).start()
if mode in ("crash", "quit"):
    threading.Thread(target=end_soon, daemon=True).start()
if mode == "parent":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
ThreadingHTTPServer(("127.0.0.1", int(flags["--port"])), Handler).serve_forever()
