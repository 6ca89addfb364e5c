"""Exits that this machine cannot be made to show, and logs that nobody should trust."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers_app.exits import Cause, Ending, explain
from servers_app.printable import printable

MAX_SENTENCE_CHARS = 1000

# As llama-server printed them; see exit_rules.py for where they are from.
CUDA = """\
load_tensors: loading model tensors, this can take a while... (mmap = true)
ggml_backend_cuda_buffer_type_alloc_buffer: allocating 144817.04 MiB on device 0: cudaMalloc \
failed: out of memory
alloc_tensor_range: failed to allocate CUDA0 buffer of size 151851674624
llama_model_load: error loading model: unable to allocate CUDA0 buffer
"""
GOT_OVER = """\
1.06.520.077 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 51748.72 MiB on device \
1: cudaMalloc failed: out of memory
1.06.520.084 E ggml_gallocr_reserve_n_impl: failed to allocate CUDA1 buffer of size 542624
1.06.520.086 E graph_reserve: failed to allocate compute buffers
1.06.520.107 W sched_reserve: compute buffer allocation failed, retrying without pipeline \
parallelism
"""
VULKAN = """\
ggml_vulkan: Device memory allocation of size 118497280 failed.
ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory
double free or corruption (out)
"""
METAL = """\
ggml_metal_synchronize: error: command buffer 0 failed with status 5
error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)
ggml-metal-context.m:235: fatal error
"""
HOST = """\
0.00.305.702 E ggml_aligned_malloc: insufficient memory (attempted to allocate 1440.00 MB)
0.00.305.781 E ggml_backend_buft_alloc_buffer_n_default: failed to allocate CPU buffer
GGML_ASSERT(buffer) failed
"""
PINNED = "ggml_cuda_host_malloc: failed to allocate 1900.00 MiB of pinned memory: CUDA_Host\n"
REMOVED = (
    'error while handling argument "--draft-max": the argument has been removed. use '
    "--spec-draft-n-max or --spec-ngram-mod-n-max"
)
MMPROJ = "0.00.406.230 E mtmd_init_from_file: error: Failed to load CLIP model from /m/p.gguf"
GLIBC = "/x/llama-server: /lib/libc.so.6: version `GLIBC_2.38' not found (required by /x)"
DYLD = "dyld[871]: Library not loaded: @rpath/libllama.dylib\n  Referenced from: /x"
ABORT = """\
[New LWP 123]
/src/ggml/src/ggml-cpu/ops.cpp:123: GGML_ASSERT(i01 >= 0 && i01 < ne01) failed
#0  0x00007f in wait4 ()
"""


@pytest.mark.parametrize(
    ("returncode", "log", "cause", "told"),
    [
        (1, CUDA, Cause.OUT_OF_DEVICE_MEMORY, "allocating 144817.04 MiB on device 0"),
        (-6, VULKAN, Cause.OUT_OF_DEVICE_MEMORY, "allocation of size 118497280 failed"),
        (-11, VULKAN, Cause.OUT_OF_DEVICE_MEMORY, "fewer n_gpu_layers"),
        (134, METAL, Cause.OUT_OF_DEVICE_MEMORY, "Insufficient Memory (00000008"),
        (134, HOST, Cause.OUT_OF_MEMORY, "insufficient memory (attempted to allocate 1440.00"),
        (-6, HOST, Cause.OUT_OF_MEMORY, "smaller ctx_size"),
        (1, PINNED, Cause.OUT_OF_MEMORY, "1900.00 MiB of pinned memory"),
        (-6, "what():  std::bad_alloc", Cause.OUT_OF_MEMORY, "std::bad_alloc"),
        (1, GOT_OVER + MMPROJ, Cause.PROJECTOR, "/m/p.gguf. Choose another mmproj"),
        (1, REMOVED, Cause.UNKNOWN_FLAG, "no longer takes --draft-max: the argument has been"),
        (1, "error: invalid argument: -dio\n", Cause.UNKNOWN_FLAG, "does not know -dio."),
        (
            1,
            "main: couldn't bind HTTP server socket, hostname: ::1, port: 81",
            "port_taken",
            "81",
        ),
        (
            1,
            "couldn't bind to server socket: hostname=::1 port=82",
            Cause.PORT_TAKEN,
            "Port 82",
        ),
        (1, GLIBC, Cause.LIBRARY, "version `GLIBC_2.38' not found"),
        (-6, DYLD, Cause.LIBRARY, "Library not loaded: @rpath/libllama.dylib"),
        (127, "x: symbol lookup error: y: undefined symbol: z", Cause.LIBRARY, "symbol: z"),
        (-4, "", Cause.ILLEGAL_INSTRUCTION, "built for another CPU"),
        (132, HOST, Cause.ILLEGAL_INSTRUCTION, "(SIGILL)"),
        (
            -6,
            ABORT,
            Cause.CRASHED,
            "(SIGABRT): /src/ggml/src/ggml-cpu/ops.cpp:123: GGML_ASSERT",
        ),
        (139, "", Cause.CRASHED, "crashed (SIGSEGV), and its log does not say why."),
        (-50, "", Cause.CRASHED, "crashed (signal 50)"),
        (-9, CUDA, Cause.KILLED, "not by MAGI"),
        (137, "", Cause.KILLED, "dmesg"),
        (-15, CUDA, Cause.STOPPED, "by SIGTERM"),
        (143, "", Cause.STOPPED, "by SIGTERM"),
        (-1, "", Cause.STOPPED, "by SIGHUP"),
        (0, "", Cause.STOPPED, "such as --version"),
        (1, "Received second interrupt, terminating immediately.\n", Cause.STOPPED, "at once"),
        (1, "", Cause.SILENT, "ended with code 1 and said nothing"),
        (3, "\n \x1b[0m\n", Cause.SILENT, "code 3"),
        (1, "0.01.1.2 E a: odd.\n0.01.1.3 I b: cleaning up\n", Cause.OTHER, "code 1: a: odd."),
        (1, "0.01.001.002 I srv  init: fine\nand so on", Cause.OTHER, "code 1: and so on."),
        (200, "who knows", Cause.OTHER, "code 200: who knows."),
    ],
)
def test_what_happened_is_told(returncode: int, log: str, cause: str, told: str) -> None:
    ending = explain(returncode, log)

    assert ending.cause == cause
    assert told in ending.sentence


def test_a_kill_is_the_kernels_when_it_counted_one() -> None:
    ending = explain(-9, "", oom_kills=1)

    assert (ending.cause, ending.is_permanent) == (Cause.OOM_KILLED, False)
    assert "smaller ctx_size" in ending.sentence


def test_a_kill_that_the_kernel_counted_is_not_the_reason_of_another_end() -> None:
    assert explain(-15, "", oom_kills=1).cause == Cause.STOPPED


def test_a_failure_that_it_got_over_is_not_the_reason() -> None:
    log = GOT_OVER + "1.07.304.130 I srv    load_model: initializing, n_slots = 1\n"

    ending = explain(-11, log)

    assert (ending.cause, "cudaMalloc" in ending.sentence) == (Cause.CRASHED, False)


def test_a_warning_is_not_the_reason() -> None:
    log = (
        "0.00.001.000 W llama_mlock: failed to allocate memory\n"
        "warning: failed to mlock 4096-byte buffer: Cannot allocate memory\n"
    )

    assert explain(1, log).cause == Cause.OTHER


def test_of_one_that_had_served_neither_its_flags_nor_its_files_are_the_reason() -> None:
    log = "error: invalid argument: --said-in-a-prompt\nfailed to open GGUF file 'x' (No such"

    assert explain(-11, log, was_ready=True).cause == Cause.CRASHED
    assert explain(-6, METAL, was_ready=True).cause == Cause.OUT_OF_DEVICE_MEMORY
    assert "before it was ready" not in explain(0, log, was_ready=True).sentence


def test_what_is_quoted_controls_no_terminal() -> None:
    log = "\x1b]0;title\x07\x1b[31;1merror: invalid argument: --a\x1b[0m\x9b2J\u202e\x08"

    ending = explain(1, log)

    assert ending.cause == Cause.UNKNOWN_FLAG
    assert ending.sentence.isprintable()
    assert "know --a. " in ending.sentence


def test_braces_of_a_log_are_only_braces() -> None:
    ending = explain(1, "error: invalid argument: --{0.__class__}{flag}")

    assert "--{0.__class__}{flag}" in ending.sentence


PIECES = (
    "failed to open ", "GGUF file '", "' (", "handling argument \"", "\": ", "couldn't bind ",
    "port ", "error: '", "version `", "failed to load ", "model '", "a" * 5000, "\n", "\r",
    "\x1b[", "\x1b]", "Metal buffer of ", "ggml_metal", "chat template", "0.0.0.0 E ",
    "{", "\x00", "…",
)  # fmt: skip


@given(
    st.integers(-64, 255),
    st.lists(st.sampled_from(PIECES), max_size=60).map("".join),
    st.integers(1, 20),
    st.booleans(),
)
@settings(deadline=None)
def test_any_log_is_explained_in_a_short_sentence(
    returncode: int, log: str, times: int, was_ready: bool
) -> None:
    ending = explain(returncode, log * times, was_ready=was_ready)

    assert isinstance(ending, Ending)
    assert ending.sentence.isprintable()
    assert len(ending.sentence) < MAX_SENTENCE_CHARS
    assert ending.sentence.endswith((".", "=embedded."))


@given(st.text(), st.integers(1, 50))
def test_any_line_can_be_shown(text: str, max_chars: int) -> None:
    shown = printable(text, max_chars)

    assert shown.isprintable()
    assert len(shown) <= max_chars


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain text: ä 漢 🙂", "plain text: ä 漢 🙂"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x07", "link"),
        ("a\tb\x00c", "a b c"),
        ("abcdefghijk", "abcdefghi…"),
        ("abcdefghij", "abcdefghij"),
        ("x" * 10**6, "xxxxxxxxx…"),
    ],
)
def test_a_line_is_shown(line: str, shown: str) -> None:
    assert printable(line, max(10, len(shown))) == shown
