#!/usr/bin/env python
"""A llama-server for what the real one cannot be made to do. STAND_IN_MODE chooses.

serve (default): ready at once.   hang: answers 503 for ever.   silent: opens no port.
die: writes a reason to stderr and exits 1.   stranger: serves another model.
stubborn: ready, and ignores SIGTERM.
"""

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

mode = os.environ.get("STAND_IN_MODE", "serve")
flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=False))
key = os.environ["LLAMA_API_KEY"]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if mode == "hang":
            self._answer(503, {"error": {"message": "Loading model", "code": 503}})
        elif self.path == "/health":
            self._answer(200, {"status": "ok"})
        elif self.headers.get("Authorization") != f"Bearer {key}":
            self._answer(401, {"error": {"message": "Invalid API Key"}})
        else:
            path = "/models/another.gguf" if mode == "stranger" else flags["--model"]
            self._answer(200, {"model_path": path, "environment": sorted(os.environ)})

    def _answer(self, status: int, body: object) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None: ...


if mode == "die":
    sys.stderr.write("error: invalid argument: --stand-in\n")
    sys.exit(1)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if mode == "silent":
    time.sleep(600)
ThreadingHTTPServer(("127.0.0.1", int(flags["--port"])), Handler).serve_forever()
