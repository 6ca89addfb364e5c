"""Further flags for llama-server, as a person gives them: which are passed on, and which not.

What a flag of these can do is done by the server's user on the server's machine, so that
whoever may edit a profile could read its files or run commands on it. llama-server has no
`--flag=value` and takes no part of a name for the whole; such spellings are refused all
the same. Source: common/arg.cpp of llama.cpp, build 11434, and the names of older builds.
"""

import re
from collections.abc import Iterator
from typing import Final, TypeAlias

MAX_EXTRA_ARGS: Final = 64
MAX_EXTRA_ARG_CHARS: Final = 4096

# Where, such as `lora[1].scale`, and a sentence. A judge says where below its value.
Problem: TypeAlias = tuple[str, str]

UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FLAG = re.compile(r"--?[A-Za-z]")
_FLAG_AND_VALUE = re.compile(r"(--?[A-Za-z][\w-]*)[=\s]")

# Some have been removed: a person who knows them is told what there is instead.
_SETTING_OF_FLAG = {
    flag: name
    for name, flags in {
        "ctx_size": "-c --ctx-size",
        "n_gpu_layers": "-ngl --gpu-layers --n-gpu-layers",
        "threads": "-t --threads",
        "threads_batch": "-tb --threads-batch",
        "batch_size": "-b --batch-size",
        "ubatch_size": "-ub --ubatch-size",
        "parallel": "-np --parallel",
        "kv_unified": "-kvu --kv-unified -no-kvu --no-kv-unified",
        "flash_attn": "-fa --flash-attn",
        "cache_type_k": "-ctk --cache-type-k",
        "cache_type_v": "-ctv --cache-type-v",
        "load_mode": "-lm --load-mode --mmap --no-mmap --mlock -dio --direct-io -ndio "
        "--no-direct-io",
        "mmproj": "-mm --mmproj --mmproj-auto --no-mmproj --no-mmproj-auto",
        "lora": "--lora --lora-scaled",
        "model_draft": "-md --model-draft --spec-draft-model",
        "jinja": "--jinja --no-jinja",
    }.items()
    for flag in flags.split()
}
# By their names, and by how such names are made: the next build has more of them.
_REFUSED = {
    "MAGI gives each server its model, name, address and key": (
        r"-m|--model|-a|--alias|--host|--port|--reuse-port|--api-prefix|--api-key.*|--ssl-.*"
    ),
    "it would read or write files": (
        r"--.*-(file|dir|path)|--path|--config|-f|--file|-bf|-jf|-sysf|-spf|"
        r"-lcs|-lcd|--lookup-cache-.*|--control-vector(-scaled)?|--prompt-cache|"
        r"-ld|--logdir|-mv|--model-vocoder"
    ),
    "it would download files": (
        r"-hf.*|--hf-.*|--.*-hf|-dr|--docker-repo|-mu|-mmu|--.*-url|"
        r"--(?!spec-default).*-(default|spec)"
    ),
    "it would run commands or open the network": (
        r"--tools.*|-ag|-no-ag|--(no-)?agent|--.*mcp.*|--rpc"
    ),
    "it would let every client change the server": r"--props",
    "it would make a router of the server": r"--(no-)?models-.*",
    "it ends llama-server at once": (
        r"-h|--help|--usage|--version|--license|-cl|--cache-list|--list-devices|"
        r"--completion-bash"
    ),
}
_REFUSED_PATTERNS = {reason: re.compile(flags) for reason, flags in _REFUSED.items()}


def judge_extra_args(value: object) -> Iterator[Problem]:
    """Yield the items that are not passed on, each with the reason."""
    if not isinstance(value, list) or len(value) > MAX_EXTRA_ARGS:
        yield "", f"Give a list of at most {MAX_EXTRA_ARGS} texts."
        return
    for index, item in enumerate(value):
        if sentence := _why_not_passed_on(item, is_first=index == 0):
            yield f"[{index}]", sentence


def _why_not_passed_on(item: object, *, is_first: bool) -> str:
    if not isinstance(item, str) or len(item) > MAX_EXTRA_ARG_CHARS or UNPRINTABLE.search(item):
        return f"Give a text of at most {MAX_EXTRA_ARG_CHARS} characters, on one line."
    if not is_flag(item):
        return "A list of flags begins with a flag." if is_first else ""
    match = _FLAG_AND_VALUE.match(item)
    flag = flag_name(match[1] if match else item)
    if name := _SETTING_OF_FLAG.get(flag):
        return f"Set {name} instead of {flag}."
    for reason, pattern in _REFUSED_PATTERNS.items():
        if pattern.fullmatch(flag):
            return f"{flag} is not passed on: {reason}."
    return "Give a flag and its value as two items." if match else ""


def is_flag(item: str) -> bool:
    """Return whether an item of a command line is a flag; -1 is a value."""
    return _FLAG.match(item) is not None


def flag_name(flag: str) -> str:
    """Return a flag as the help spells it; llama-server takes --log_file for --log-file."""
    return flag.replace("_", "-") if flag.startswith("--") else flag
