"""llama.cpp's own server from the xllamacpp wheel, behind llama-server's command line.

    python -m servers_app.engine.embedded --model FILE --port N ...

For machines with nothing but pip. Flags, messages and exit statuses are llama-server's
of late 2026; a flag that is not in the table below is refused like an unknown one. On
purpose, SIGTERM and SIGINT exit 0 while the model loads, too (glibc only: elsewhere
they kill it, as they do llama-server). Nothing of Django and nothing of ours is imported.
"""

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

GGUF_MAGIC: Final = b"GGUF"
MIB: Final = 2**20
STOP_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT})

# The wheel has no types: its module, and its CommonParams. The text is a flag's value.
Apply: TypeAlias = Callable[[Any, Any, str], None]


class ArgumentError(Exception):
    """The command line cannot be obeyed; the message is llama-server's own."""


class FileRefusedError(Exception):
    """A file is missing, unreadable or no GGUF; the message is llama-server's own."""


class Flag(NamedTuple):
    """One flag, as --help shows it. Without `value` it is a switch."""

    names: str  # separated by spaces
    value: str
    help: str
    apply: Apply


def main(arguments: list[str]) -> int:
    """Serve until a signal, and return the exit status if it does not come to that."""
    _let_signals_end_the_load()
    try:
        llama = importlib.import_module("xllamacpp")
    except ImportError as error:
        _say(f"error: the embedded engine needs the wheel: pip install xllamacpp ({error})")
        return 1
    try:
        params = _parse(llama, arguments)
        for path in filter(None, (params.model.path, params.mmproj.path)):
            _check_gguf(path)
    except (ArgumentError, FileRefusedError) as error:
        _say(str(error))
        return 1
    return _serve(llama, params)


def _serve(llama: Any, params: Any) -> int:
    try:
        # Opens the port, answers 503 there, loads, and returns when /health is 200.
        _server = llama.Server(params)  # serves until it is collected
    except (RuntimeError, MemoryError) as error:
        # llama.cpp has logged the reason in the lines above.
        _say(f"error: cannot serve '{params.model.path}' on port {params.port}: {error}")
        return 1
    _say(f"{_await_signal().name} received, exiting")
    # Open streams are cut, as llama-server cuts them; its destructors would wait for
    # what is being generated. At once, so that a second signal finds no process.
    os._exit(0)


def _let_signals_end_the_load() -> None:
    """Make SIGTERM and SIGINT exit 0, by C alone.

    llama.Server() keeps the GIL until the model is loaded, seconds or minutes, and no
    handler in Python runs meanwhile. A handler of C's must take one argument, the
    signal, and not exit with it: quick_exit() ignores its own if what it has to call
    first ends the process, and it calls that with a null, here _exit(0).
    """
    libc = ctypes.CDLL(None)
    try:
        quick_exit = ctypes.cast(libc.quick_exit, ctypes.c_void_p)
        libc["__cxa_at_quick_exit"](libc._exit, None)
    except AttributeError:  # not glibc
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        return
    for number in STOP_SIGNALS:
        libc.signal(number, quick_exit)


def _await_signal() -> signal.Signals:
    """Sleep until SIGTERM or SIGINT, whichever of llama.cpp's threads receives it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in STOP_SIGNALS:
        signal.signal(number, lambda _number, _frame: None)
    return signal.Signals(os.read(reader, 1)[0])


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


# What is asked of the program and not of a server: answered at once, and exit 0.


def _print_version(llama: Any, _params: Any, _value: str) -> NoReturn:
    """Print llama-server's line. The wheel's version ends in llama.cpp's build number."""
    info = llama.BUILD_INFO
    build = info["build_number"] or llama.__version__.rpartition(".")[2]
    _say(f"version: {llama.__version__} (build {build}, commit {info['commit']})")
    _say(f"built with {info['compiler']} for {info['build_target']}")
    sys.exit(0)


def _print_devices(llama: Any, _params: Any, _value: str) -> NoReturn:
    lines = [
        f"  {device['name']}: {device['description']} "
        f"({device['memory_total'] // MIB} MiB, {device['memory_free'] // MIB} MiB free)"
        for device in llama.get_device_info()
        if device["name"] != "CPU"
    ]
    sys.stdout.write("\n".join(["Available devices:", *(lines or ["  (none)"])]) + "\n")
    sys.exit(0)


def _print_help(_llama: Any, _params: Any, _value: str) -> NoReturn:
    for flag in FLAGS:
        names = flag.names.replace(" ", ", ")
        sys.stdout.write(f"{names} {flag.value}".ljust(39) + f" {flag.help}\n")
    sys.exit(0)


def _parse(llama: Any, arguments: list[str]) -> Any:
    """Return the wheel's CommonParams for `arguments`.

    Raises:
        ArgumentError: at the first argument that cannot be obeyed.
    """
    params = llama.CommonParams()
    params.port = 8080
    params.n_parallel = -1  # llama-server's default; the wheel's own is 1
    _add_keys(llama, params, os.environ.get("LLAMA_API_KEY", ""))  # never in argv
    rest = iter(arguments)
    for name in rest:
        flag = _FLAG_OF_NAME.get(name)
        if flag is None:
            msg = f"error: invalid argument: {name}"
            raise ArgumentError(msg)
        try:
            flag.apply(llama, params, _value(flag, rest))
        except (ValueError, OverflowError) as error:
            msg = f'error while handling argument "{name}": {error}'
            raise ArgumentError(msg) from error
    if not params.model.path:
        msg = "error: --model is required"
        raise ArgumentError(msg)
    return params


def _value(flag: Flag, rest: Iterator[str]) -> str:
    if not flag.value:
        return ""
    value = next(rest, None)
    if value is None:
        msg = "expected value for argument"
        raise ValueError(msg)
    return value


def _check_gguf(path: str) -> None:
    """Refuse what llama.cpp would refuse, before a port is opened for it."""
    try:
        with Path(path).open("rb") as file:
            magic = file.read(len(GGUF_MAGIC))
    except OSError as error:
        msg = f"error: failed to open GGUF file '{path}' ({error.strerror})"
        raise FileRefusedError(msg) from error
    if magic != GGUF_MAGIC:
        shown = "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in magic)
        msg = f"error: '{path}': invalid magic characters: '{shown}', expected 'GGUF'"
        raise FileRefusedError(msg)


# What a flag does to CommonParams. `path` names a field, dotted where it is nested.


def _set(params: Any, path: str, value: object) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        params = getattr(params, parent)
    setattr(params, name, value)


def _text(path: str) -> Apply:
    return lambda _llama, params, value: _set(params, path, value)


def _integer(*paths: str, low: int = -(2**31), high: int = 2**31 - 1, **words: int) -> Apply:
    """Take a number from `low` to `high`, or one of `words`."""

    def apply(_llama: Any, params: Any, value: str) -> None:
        number = words[value] if value in words else _to_int(value)
        if not low <= number <= high:
            msg = f"invalid value: {value}"
            raise ValueError(msg)
        for path in paths:
            _set(params, path, number)

    return apply


def _to_int(value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        msg = "stoi"  # llama-server's whole message
        raise ValueError(msg) from error


def _switch(path: str, *, to: bool = True) -> Apply:
    return lambda _llama, params, _value: _set(params, path, to)


def _member(path: str, enum: str, members: Mapping[str, str], *, many: bool = False) -> Apply:
    """Take a word, and set the member of the wheel's `enum` that it stands for."""

    def apply(llama: Any, params: Any, value: str) -> None:
        if value not in members:
            msg = f"unknown value '{value}', use one of: {', '.join(members)}"
            raise ValueError(msg)
        member = getattr(llama, enum)[f"{enum.upper()}_{members[value]}"]
        _set(params, path, [member] if many else member)

    return apply


def _words(words: str) -> dict[str, str]:
    return {word: word.upper().replace("-", "_").replace("+", "_") for word in words.split()}


def _add_keys(_llama: Any, params: Any, value: str) -> None:
    params.api_keys = [*params.api_keys, *(key for key in value.split(",") if key)]


def _add_keys_of_file(llama: Any, params: Any, value: str) -> None:
    for line in _read(value).splitlines():
        if not line.startswith("#"):
            _add_keys(llama, params, line.strip())


def _add_adapters(llama: Any, params: Any, value: str) -> None:
    for item in value.split(","):
        path, _, scale = item.partition(":")
        adapter = llama.CommonAdapterLoraInfo(path, float(scale or 1))
        params.lora_adapters = [*params.lora_adapters, adapter]


def _set_chat_template(_llama: Any, params: Any, value: str) -> None:
    params.chat_template = _read(value)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError as error:
        msg = f"error: failed to open file '{path}' ({error.strerror})"
        raise ValueError(msg) from error


def _set_aliases(_llama: Any, params: Any, value: str) -> None:
    params.model_alias = {alias.strip() for alias in value.split(",") if alias.strip()}


def _set_hosts(_llama: Any, params: Any, value: str) -> None:
    params.hostnames = value.split(",")


def _set_parallel(_llama: Any, params: Any, value: str) -> None:
    params.n_parallel = _to_int(value)
    if params.n_parallel < -1 or params.n_parallel == 0:
        msg = "error: invalid value for n_parallel"
        raise ValueError(msg)


def _set_reranking(llama: Any, params: Any, _value: str) -> None:
    params.embedding = True
    params.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


def _set_cors_origins(_llama: Any, params: Any, value: str) -> None:
    params.cors_origins = value
    params.cors_origins_explicit = True


def _set_fit(_llama: Any, params: Any, value: str) -> None:
    if value not in ON + OFF:
        msg = f"error: unknown value for --fit: '{value}'"
        raise ValueError(msg)
    params.fit_params = value in ON


def _set_fit_target(_llama: Any, params: Any, value: str) -> None:
    margins = [_to_int(part) * MIB for part in value.split(",")]
    devices = len(params.fit_params_target)
    # The last value is for the devices that are not listed.
    params.fit_params_target = (margins + margins[-1:] * devices)[:devices]


ON: Final = ("on", "enabled", "true", "1")
OFF: Final = ("off", "disabled", "false", "0")
FLASH_ATTN: Final = (
    dict.fromkeys(ON, "ENABLED") | dict.fromkeys(OFF, "DISABLED") | {"auto": "AUTO"}
)
LOAD_MODE: Final = _words("auto none mmap mlock mmap+mlock") | {"dio": "DIRECT_IO"}
CACHE_TYPE: Final = _words("f32 f16 bf16 q8_0 q4_0 q4_1 iq4_nl q5_0 q5_1")
REASONING: Final = _words("none auto deepseek deepseek-legacy")
SPEC_TYPE: Final = _words("none draft-simple ngram-simple ngram-map-k ngram-map-k4v ngram-mod")

_flash_attn = _member("flash_attn_type", "llama_flash_attn_type", FLASH_ATTN)
_cache_type_k = _member("cache_type_k", "ggml_type", CACHE_TYPE)
_cache_type_v = _member("cache_type_v", "ggml_type", CACHE_TYPE)
_load_mode = _member("load_mode", "llama_load_mode", LOAD_MODE)
_pooling = _member("pooling_type", "llama_pooling_type", _words("none mean cls last rank"))
_reasoning = _member("reasoning_format", "common_reasoning_format", REASONING)
_spec_type = _member("speculative.types", "common_speculative_type", SPEC_TYPE, many=True)
_layers = _integer("n_gpu_layers", low=-2, auto=-1, all=-2)

FLAGS: Final = (
    Flag("-h --help --usage", "", "print usage and exit", _print_help),
    Flag("--version", "", "show version and build info", _print_version),
    Flag("--list-devices", "", "print list of available devices and exit", _print_devices),
    Flag("-m --model", "FNAME", "model path to load", _text("model.path")),
    Flag("-a --alias", "STRING", "model name aliases, comma-separated", _set_aliases),
    Flag("--host", "HOST", "IP addresses to listen on, comma-separated", _set_hosts),
    Flag("--port", "PORT", "port to listen (0 = any)", _integer("port", low=0, high=65535)),
    Flag("-c --ctx-size", "N", "context in tokens (0 = from model)", _integer("n_ctx", low=0)),
    Flag("-t --threads", "N", "CPU threads for generation", _integer("cpuparams.n_threads")),
    Flag("-tb --threads-batch", "N", "... for prompts", _integer("cpuparams_batch.n_threads")),
    Flag("-b --batch-size", "N", "logical maximum batch size", _integer("n_batch", low=1)),
    Flag("-ub --ubatch-size", "N", "physical maximum batch size", _integer("n_ubatch", low=1)),
    Flag("-np --parallel", "N", "number of server slots (default: -1, auto)", _set_parallel),
    Flag("-kvu --kv-unified", "", "one KV buffer for all slots", _switch("kv_unified")),
    Flag("-no-kvu --no-kv-unified", "", "one for each", _switch("kv_unified", to=False)),
    Flag("-fa --flash-attn", "[on|off|auto]", "Flash Attention use", _flash_attn),
    Flag("-ctk --cache-type-k", "TYPE", "KV cache data type for K", _cache_type_k),
    Flag("-ctv --cache-type-v", "TYPE", "KV cache data type for V", _cache_type_v),
    Flag("-kvo --kv-offload", "", "offload the KV cache", _switch("no_kv_offload", to=False)),
    Flag("-nkvo --no-kv-offload", "", "keep the KV cache in RAM", _switch("no_kv_offload")),
    Flag("-ngl --gpu-layers --n-gpu-layers", "N", "in VRAM: number, 'auto', 'all'", _layers),
    Flag("-fit --fit", "[on|off]", "fit unset arguments into device memory", _set_fit),
    Flag("-fitt --fit-target", "MiB0,MiB1,...", "margin per device for --fit", _set_fit_target),
    Flag("-fitc --fit-ctx", "N", "least context", _integer("fit_params_min_ctx", low=1)),
    Flag("-lm --load-mode", "MODE", "auto, none, mmap, mlock, mmap+mlock or dio", _load_mode),
    Flag("-mm --mmproj", "FILE", "multimodal projector", _text("mmproj.path")),
    Flag("--lora --lora-scaled", "FNAME[:SCALE],...", "LoRA adapters", _add_adapters),
    Flag("-md --model-draft", "FNAME", "draft model", _text("speculative.draft.mparams.path")),
    Flag("--spec-type", "TYPE", "'none', 'draft-simple', 'ngram-mod', ...", _spec_type),
    Flag("--jinja", "", "Jinja chat templates (default)", _switch("use_jinja")),
    Flag("--no-jinja", "", "no Jinja chat templates", _switch("use_jinja", to=False)),
    Flag("--chat-template", "TEMPLATE", "a template or its name", _text("chat_template")),
    Flag("--chat-template-file", "FILE", "a template in a file", _set_chat_template),
    Flag("--reasoning-format", "FORMAT", "none, auto, deepseek or deepseek-legacy", _reasoning),
    Flag("--embedding --embeddings", "", "embeddings endpoint", _switch("embedding")),
    Flag("--rerank --reranking", "", "reranking endpoint", _set_reranking),
    Flag("--pooling", "TYPE", "none, mean, cls, last or rank", _pooling),
    Flag("--metrics", "", "prometheus metrics endpoint", _switch("endpoint_metrics")),
    Flag("--props", "", "allow POST /props", _switch("endpoint_props")),
    Flag("--slots", "", "slots endpoint (default)", _switch("endpoint_slots")),
    Flag("--no-slots", "", "no slots endpoint", _switch("endpoint_slots", to=False)),
    Flag("--ui --webui", "", "web UI (default)", _switch("ui")),
    Flag("--no-ui --no-webui", "", "no web UI", _switch("ui", to=False)),
    Flag("--warmup", "", "warm up with an empty run (default)", _switch("warmup")),
    Flag("--no-warmup", "", "no warm-up", _switch("warmup", to=False)),
    Flag("--context-shift", "", "shift the context when it is full", _switch("ctx_shift")),
    Flag("--no-context-shift", "", "end there (default)", _switch("ctx_shift", to=False)),
    Flag("--swa-full", "", "full-size SWA cache", _switch("swa_full")),
    Flag("-cram --cache-ram", "N", "prompt cache, MiB", _integer("cache_ram_mib", low=-1)),
    Flag("--cache-reuse", "N", "least chunk reused", _integer("n_cache_reuse", low=0)),
    Flag("--api-key", "KEY", "API keys, comma-separated (env: LLAMA_API_KEY)", _add_keys),
    Flag("--api-key-file", "FNAME", "API keys, one a line", _add_keys_of_file),
    Flag("--cors-origins", "ORIGINS", "allowed origins, comma-separated", _set_cors_origins),
    Flag("-to --timeout", "N", "HTTP timeout, s", _integer("timeout_read", "timeout_write")),
    Flag("--threads-http", "N", "threads for HTTP requests", _integer("n_threads_http")),
    Flag("--sleep-idle-seconds", "N", "sleep after N s", _integer("sleep_idle_seconds")),
    Flag("-lv --verbosity --log-verbosity", "N", "3 = info, 4 = trace", _integer("verbosity")),
)
_FLAG_OF_NAME: Final = {name: flag for flag in FLAGS for name in flag.names.split()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
