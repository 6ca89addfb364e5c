#!/usr/bin/env python
"""A llama-server of build 6000, as far as its command line goes.

It lists the flags of its time in `--help`, takes those and no others, each with as many
values as it says, and ends with llama-server's messages. Then it serves /health and /props.
What it was started with is written to the file that OLD_BUILD_ASKED names, a line a run.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

HELP = """\
----- common params -----

-h,    --help, --usage                  print usage and exit
--version                               show version and build info
-t,    --threads N                      number of threads to use during generation (default: -1)
                                        (env: LLAMA_ARG_THREADS)
-tb,   --threads-batch N                number of threads to use during batch processing
-c,    --ctx-size N                     size of the prompt context (default: 4096, 0 = loaded
                                        from model)
-b,    --batch-size N                   logical maximum batch size (default: 2048)
-ub,   --ubatch-size N                  physical maximum batch size (default: 512)
--swa-full                              use full-size SWA cache (default: false)
-fa,   --flash-attn                     enable Flash Attention (default: disabled)
                                        (env: LLAMA_ARG_FLASH_ATTN)
--rope-scaling {none,linear,yarn}       RoPE frequency scaling method
-nkvo, --no-kv-offload                  disable KV offload
-ctk,  --cache-type-k TYPE              KV cache data type for K
-ctv,  --cache-type-v TYPE              KV cache data type for V
-np,   --parallel N                     number of parallel sequences to decode (default: 1)
--mlock                                 force system to keep model in RAM rather than swapping
--no-mmap                               do not memory-map model (slower load but may reduce
                                        pageouts if not using mlock)
--list-devices                          print list of available devices and exit
--override-tensor, -ot <tensor name pattern>=<buffer type>,...
                                        override tensor buffer type
-ngl,  --gpu-layers, --n-gpu-layers N   number of layers to store in VRAM
--lora FNAME                            path to LoRA adapter (can be repeated to use multiple
                                        adapters)
--lora-scaled FNAME SCALE               path to LoRA adapter with user defined scaling (can be
                                        repeated to use multiple adapters)
--control-vector-layer-range START END
                                        layer range to apply the control vector(s) to
-m,    --model FNAME                    model path

----- sampling params -----

--temp N                                temperature (default: 0.8)

----- example-specific params -----

--no-context-shift                      disables context shift on infinite text generation
--no-warmup                             skip warming up the model with an empty run
--mmproj FILE                           path to a multimodal projector file
--no-mmproj                             explicitly disable multimodal projector, useful when
                                        using -hf; a later
                                        --no-mmproj-offload changes nothing
-a,    --alias STRING                   set alias for model name (to be used by REST API)
--host HOST                             ip address to listen, or bind to an UNIX socket
--port PORT                             port to listen (default: 8080)
--no-webui                              Disable the Web UI (default: enabled)
--embedding, --embeddings               restrict to only support embedding use case
--reranking, --rerank                   enable reranking endpoint on server
--cache-reuse N                         min chunk size to attempt reusing from the cache
--metrics                               enable prometheus compatible metrics endpoint
--slots                                 enable slots monitoring endpoint (default: enabled)
--no-slots                              disables slots monitoring endpoint
--jinja                                 use jinja template for chat (default: disabled)
--draft-max, --draft, --draft-n N       number of tokens to draft for speculative decoding
--draft-min, --draft-n-min N            minimum number of draft tokens to use
--draft-p-min P                         minimum speculative decoding probability (greedy)
-md,   --model-draft FNAME              draft model for speculative decoding (default: unused)
"""
# Written out, and not parsed: the tests hold the parser against it.
TWO = {"--lora-scaled", "--control-vector-layer-range"}
SWITCHES = {
    *("-h", "--help", "--usage", "--version", "--list-devices", "--swa-full"),
    *("-fa", "--flash-attn", "-nkvo", "--no-kv-offload", "--mlock", "--no-mmap"),
    *("--no-context-shift", "--no-warmup", "--no-mmproj", "--no-webui", "--embedding"),
    *("--embeddings", "--reranking", "--rerank", "--metrics", "--slots", "--no-slots"),
    "--jinja",
}
ONE = {
    *("-t", "--threads", "-tb", "--threads-batch", "-c", "--ctx-size", "-b", "--batch-size"),
    *("-ub", "--ubatch-size", "--rope-scaling", "-ctk", "--cache-type-k", "-ctv"),
    *("--cache-type-v", "-np", "--parallel", "--override-tensor", "-ot", "-ngl"),
    *("--gpu-layers", "--n-gpu-layers", "--lora", "-m", "--model", "--temp", "--mmproj"),
    *("-a", "--alias", "--host", "--port", "--cache-reuse", "--draft-max", "--draft"),
    *("--draft-n", "--draft-min", "--draft-n-min", "--draft-p-min", "-md", "--model-draft"),
}
NUMBERS = {"--ctx-size", "--n-gpu-layers", "--threads", "--parallel", "--port", "--draft-max"}


def main(arguments: list[str]) -> int:
    if asked := os.environ.get("OLD_BUILD_ASKED"):
        with Path(asked).open("a") as file:
            file.write(" ".join(arguments) + "\n")
    rest = iter(arguments)
    given: dict[str, list[str]] = {}
    for flag in rest:
        count = 2 if flag in TWO else 1 if flag in ONE else 0
        if not count and flag not in SWITCHES:
            return refuse(f"error: invalid argument: {flag}")
        given[flag] = list(islice(rest, count))
        if len(given[flag]) < count:
            return refuse(
                f'error while handling argument "{flag}": expected value for argument'
            )
        if flag in NUMBERS and not given[flag][0].isdecimal():
            return refuse(f'error while handling argument "{flag}": stoi')
    if "--help" in given:
        sys.stdout.write(HELP)
    elif "--version" in given:
        sys.stderr.write("version: 6000 (8ad7b3e6)\nbuilt with cc for x86_64-linux-gnu\n")
    elif "--list-devices" in given:
        sys.stdout.write("Available devices:\n  CUDA0: NVIDIA A (16379 MiB, 14900 MiB free)\n")
    else:
        serve(given["--host"][0], int(given["--port"][0]), given["--model"][0])
    return 0


def refuse(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


def serve(host: str, port: int, model: str) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raw = json.dumps({"status": "ok", "model_path": model}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *args: object) -> None: ...

    ThreadingHTTPServer((host, port), Handler).serve_forever()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
