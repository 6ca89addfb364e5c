"""Further flags for llama-server, as a person gives them: which are passed on, and which not.

What a flag of these can do is done by the server's user on the server's machine, so that
whoever may edit a profile could read its files or run commands on it. llama-server has no
`--flag=value` and takes no part of a name for the whole; such spellings are refused all
the same. Source: common/arg.cpp of llama.cpp, build 11434, and the names of older builds.
"""

import re
from collections.abc import Collection, Iterator, Mapping
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
# By their names, and by how such names are made: the next build has more of them. The first
# that fits counts.
_NEVER = {
    "MAGI gives each server its model, name, address and key": (
        r"-m|--model|-a|--alias|--host|--port|--reuse-port|--api-prefix|--api-key.*|--ssl-.*|"
        r"--config"
    ),
    "it would load another model": (
        r"-hf|-hfr|--hf-repo|-hff|--hf-file|-dr|--docker-repo|-mu|--model-url|"
        r"--(?!spec-default).*-(default|spec)"
    ),
    "it would make a router of the server": r"--(no-)?models-.*",
    "it ends llama-server at once": (
        r"-h|--help|--usage|--version|--license|-cl|--cache-list|--list-devices|"
        r"--completion-bash"
    ),
}
_UNLESS_ALLOWED = {
    "it would read or write files": (
        r"--.*-(file|dir|path)|--path|-f|--file|-bf|-jf|-sysf|-spf|"
        r"-lcs|-lcd|--lookup-cache-.*|--control-vector(-scaled)?|--prompt-cache|"
        r"-ld|--logdir|-mv|--model-vocoder"
    ),
    "it would download files": r"-hf.*|--hf-.*|--.*-hf|-mmu|--.*-url",
    "it would run commands or open the network": (
        r"--tools.*|-ag|-no-ag|--(no-)?agent|--.*mcp.*|--rpc"
    ),
    "it would let every client change the server": r"--props",
}
_NEVER_PATTERNS = {reason: re.compile(flags) for reason, flags in _NEVER.items()}
_UNLESS_ALLOWED_PATTERNS = {r: re.compile(flags) for r, flags in _UNLESS_ALLOWED.items()}
_HOW_TO_ALLOW = "Who runs MAGI may allow it: MAGI_ALLOWED_EXTRA_ARGS."


def never_allowed(flags: Collection[str]) -> set[str]:
    """Return those of `flags` that stay refused, whoever allows them."""
    return {flag for flag in flags if _why_never(flag_name(flag))}


def judge_extra_args(
    value: object, *, allowed: Collection[str] = frozenset()
) -> Iterator[Problem]:
    """Yield the items that are not passed on, each with the reason.

    Args:
        allowed: flags that an administrator trusts those with who may edit profiles.
    """
    if not isinstance(value, list) or len(value) > MAX_EXTRA_ARGS:
        yield "", f"Give a list of at most {MAX_EXTRA_ARGS} texts."
        return
    for index, item in enumerate(value):
        if sentence := _why_not_passed_on(item, allowed, is_first=index == 0):
            yield f"[{index}]", sentence


def _why_not_passed_on(item: object, allowed: Collection[str], *, is_first: bool) -> str:
    if not isinstance(item, str) or len(item) > MAX_EXTRA_ARG_CHARS or UNPRINTABLE.search(item):
        return f"Give a text of at most {MAX_EXTRA_ARG_CHARS} characters, on one line."
    if not is_flag(item):
        return "A list of flags begins with a flag." if is_first else ""
    match = _FLAG_AND_VALUE.match(item)
    flag = flag_name(match[1] if match else item)
    if why := _why_never(flag):
        return why
    if flag not in allowed and (reason := _reason(flag, _UNLESS_ALLOWED_PATTERNS)):
        return f"{flag} is not passed on: {reason}. {_HOW_TO_ALLOW}"
    return "Give a flag and its value as two items." if match else ""


def _why_never(flag: str) -> str:
    if name := _SETTING_OF_FLAG.get(flag):
        return f"Set {name} instead of {flag}."
    reason = _reason(flag, _NEVER_PATTERNS)
    return f"{flag} is not passed on: {reason}." if reason else ""


def _reason(flag: str, patterns: Mapping[str, re.Pattern[str]]) -> str:
    return next((reason for reason, flags in patterns.items() if flags.fullmatch(flag)), "")


def is_flag(item: str) -> bool:
    """Return whether an item of a command line is a flag; -1 is a value."""
    return _FLAG.match(item) is not None


def flag_name(flag: str) -> str:
    """Return a flag as the help spells it; llama-server takes --log_file for --log-file."""
    return flag.replace("_", "-") if flag.startswith("--") else flag
