"""What lines of llama-server's log mean, when it has ended.

The messages are those of llama-server b11434 and of the embedded engine, which was made
to show all that a machine without a GPU can (tests/servers_app/test_exits_engine.py),
with the older spellings beside them. Those of GPUs are from ggml-org/llama.cpp's issues
20431 and 26297 (CUDA), 15256 (Vulkan) and 9701 (Metal).
"""

import re
from enum import StrEnum, auto
from typing import Final, NamedTuple


class Cause(StrEnum):
    """Why a llama-server ended."""

    UNKNOWN_FLAG = auto()
    BAD_VALUE = auto()
    PORT_TAKEN = auto()
    FILE_MISSING = auto()
    NOT_GGUF = auto()
    TRUNCATED = auto()
    SHARD_MISSING = auto()
    WRONG_SHARD = auto()
    PROJECTOR = auto()
    ADAPTER = auto()
    TEMPLATE = auto()
    UNSUPPORTED_MODEL = auto()  # an architecture that this build does not know
    OUT_OF_MEMORY = auto()  # of the machine
    OUT_OF_DEVICE_MEMORY = auto()
    OOM_KILLED = auto()  # by the kernel, for memory
    KILLED = auto()
    STOPPED = auto()  # by a signal to stop that was not MAGI's
    LIBRARY = auto()
    ILLEGAL_INSTRUCTION = auto()  # built for another CPU
    CRASHED = auto()
    NOT_LAUNCHED = auto()  # its keeper could not start it, or came to no answer
    SLOW = auto()  # it did not get ready in time
    WEDGED = auto()  # it was ready, and did not get on any more
    SILENT = auto()
    OTHER = auto()


class Rule(NamedTuple):
    """What a line of the log means. The sentence names the pattern's groups, or `line`."""

    cause: Cause
    pattern: re.Pattern[str]
    sentence: str
    is_permanent: bool = True


LESS_MEMORY: Final = (
    "Stop other servers, or give it a smaller ctx_size, fewer slots (parallel) or a smaller "
    "model."
)
_NEW_FILE: Final = "Download it again, or put it back, and rescan."
_OTHER_PROJECTOR: Final = "Choose another mmproj, or none, in the run settings."
_OTHER_TEMPLATE: Final = (
    "In the run settings, set jinja to off and add --chat-template chatml to extra_args."
)
# In this order: what is named first causes what is named after it.
RULES: Final = (
    Rule(
        Cause.LIBRARY,
        re.compile(
            r"error while loading shared libraries: (?P<why>.+)|(?P<version>version `.+' not "
            r"found.*)|(?P<symbol>symbol lookup error: .+)|(?P<dyld>Library not loaded: .+)"
            r"|(?P<wheel>the embedded engine needs the wheel: .+)"
        ),
        "llama-server cannot run here, a library is missing or too old: "
        "{why}{version}{symbol}{dyld}{wheel}. Install it, or use another build.",
    ),
    Rule(
        Cause.UNKNOWN_FLAG,
        re.compile(r"error: invalid argument: (?P<flag>\S+)"),
        "This build of llama-server does not know {flag}. Take it out of the run settings, or "
        "use another build.",
    ),
    Rule(
        Cause.UNKNOWN_FLAG,
        re.compile(r'handling argument "(?P<flag>[^"]+)": (?P<why>.*has been removed.*)'),
        "This build of llama-server no longer takes {flag}: {why}.",
    ),
    Rule(
        Cause.BAD_VALUE,
        re.compile(r'handling argument "(?P<flag>[^"]+)": sto[a-z]+\b'),
        "llama-server wants a number for {flag}. Change it in the run settings.",
    ),
    Rule(
        Cause.BAD_VALUE,
        re.compile(r'handling (?:argument|\w+ variable) "(?P<flag>[^"]+)": (?P<why>.+)'),
        "llama-server does not take what {flag} is given: {why}. Change it in the run "
        "settings; llama-server --help says what it may be.",
    ),
    Rule(
        Cause.PORT_TAKEN,
        re.compile(r"couldn't bind .{0,200}?port\W+(?P<port>\d+)"),
        "Port {port} is taken by another program. Stop that, or choose other ports by "
        "MODEL_PORT_RANGE_START and MODEL_PORT_RANGE_END.",
        is_permanent=False,
    ),
    Rule(
        Cause.PORT_TAKEN,
        re.compile(r"Address already in use"),
        "Its port is taken by another program: {line}.",
        is_permanent=False,
    ),
    Rule(
        Cause.SHARD_MISSING,
        re.compile(r"failed to load GGUF split from (?P<file>.+)"),
        "A part of the model is missing or broken: {file}. " + _NEW_FILE,
    ),
    Rule(
        Cause.WRONG_SHARD,
        re.compile(r"illegal split file idx: \d+ \(file: (?P<file>.+)\), "),
        "{file} is not the first part of its model, and that is the one to load. Rescan.",
    ),
    Rule(
        Cause.WRONG_SHARD,
        re.compile(r"invalid split file(?: name)?: (?P<file>.+)"),
        "{file} is part of a model, and its name does not say which. Give it back the name "
        "that ends in -00001-of-0000N.gguf, and rescan.",
    ),
    Rule(
        Cause.WRONG_SHARD,
        re.compile(r"invalid split (?:count|file idx)|missing key split"),
        "The parts of the model do not belong together: {line}. Download them again.",
    ),
    Rule(
        Cause.FILE_MISSING,
        re.compile(
            r"failed to open (?:GGUF file )?'?(?P<file>.+?)'?(?:: | \()"
            r"(?P<why>No such file or directory|Permission denied|Is a directory)"
        ),
        "{file} cannot be opened: {why}. Put it back or let it be read, and rescan.",
    ),
    Rule(
        Cause.OUT_OF_DEVICE_MEMORY,
        re.compile(
            r"(?i)(?:cuda|hip|musa)Malloc failed|out_?of_?device_?memory|device memory "
            r"allocation of size|OutOfMemory\)|(?:CUDA|ROCm|MUSA) error: out of memory"
            r"|Metal buffer of .*out of memory|ggml_metal\w*: .*failed to allocate buffer"
            r"|\b(?:un|failed )(?:able )?to allocate (?:CUDA|ROCm|MUSA|Vulkan|Metal|MTL|SYCL|"
            r"CANN|OpenCL|RPC)\w*(?<!_Host) buffer"
        ),
        "The device has no memory left for it: {line}. Stop other servers on it, or give it a "
        "smaller ctx_size or fewer n_gpu_layers.",
        is_permanent=False,
    ),
    Rule(
        Cause.OUT_OF_MEMORY,
        re.compile(
            r"(?i)insufficient memory|(?:failed|unable) to allocate|allocation failed|"
            r"not enough memory|cannot allocate memory|out of memory|bad_alloc(?! error while)"
        ),
        "The machine has no memory left for it: {line}. " + LESS_MEMORY,
        is_permanent=False,
    ),
    Rule(
        Cause.PROJECTOR,
        re.compile(
            r"(?i)failed to load CLIP model from (?P<file>.+?)(?:\. Does this file exist\?)?$"
        ),
        "Its projector cannot be used: {file}. " + _OTHER_PROJECTOR,
    ),
    Rule(
        Cause.PROJECTOR,
        re.compile(r"failed to load multimodal model|unknown projector type"),
        "Its projector cannot be used: {line}. " + _OTHER_PROJECTOR,
    ),
    Rule(
        Cause.ADAPTER,
        re.compile(r"failed to (?:load|apply) lora adapter(?!:)(?: '(?P<file>.+)')?"),
        "A LoRA adapter cannot be used: {file}. Take it out of the run settings, or give one "
        "that was made for this model.",
    ),
    Rule(
        Cause.NOT_GGUF,
        re.compile(r"invalid magic char"),
        "This file is no GGUF file: {file}. " + _NEW_FILE,
    ),
    Rule(
        Cause.TRUNCATED,
        re.compile(
            r"not within the file bounds|failed to read (?:magic|header|key-value pairs|tensor)"
            r"|exceeds remaining file size|unexpectedly reached end of file"
        ),
        "This file is broken or not all there: {file}. " + _NEW_FILE,
    ),
    Rule(
        Cause.UNSUPPORTED_MODEL,
        re.compile(r"unknown (?:model architecture|pre-tokenizer type): '(?P<name>[^']*)'"),
        "This build of llama-server does not know {name}, which the model is of. Use a newer "
        "build.",
    ),
    Rule(
        Cause.UNSUPPORTED_MODEL,
        re.compile(
            r"error loading model (?:hyperparameters|vocabulary)|missing tensor '|has wrong "
            r"shape|wrong number of tensors|GGUF(?: file version|v1 is no)|CLIP cannot be used"
        ),
        "This build of llama-server cannot load the model: {line}. Use a newer build, or a "
        "file that was made for this one.",
    ),
    Rule(
        Cause.TEMPLATE,
        re.compile(r"chat_templates_init: error: (?P<why>.+)"),
        "Its chat template cannot be used: {why}. " + _OTHER_TEMPLATE,
    ),
    Rule(
        Cause.TEMPLATE,
        re.compile(r"chat template.{0,80}(?:error|not supported|failed)"),
        "Its chat template cannot be used: {line}. " + _OTHER_TEMPLATE,
    ),
    Rule(
        Cause.STOPPED,
        re.compile(r"Received second interrupt|EOF on stdin detected"),
        "llama-server was told to stop at once, and not by MAGI. Start it if it is wanted.",
        is_permanent=False,
    ),
)
