"""Run settings as a page lists them: what each does, and what it may be."""

from typing import Final, NamedTuple

from profiles_app.runsettings import FIELDS

_WHAT: Final = {
    "ctx_size": "Tokens of context, all slots together. 0: what the model was trained for.",
    "n_gpu_layers": "Layers in VRAM. auto: as many as fit.",
    "threads": "CPU threads that generate.",
    "threads_batch": "CPU threads that read prompts. Without it, as many as threads.",
    "batch_size": "Tokens of a prompt in one step.",
    "ubatch_size": "Tokens computed at once, no more than batch_size.",
    "parallel": "Slots: requests that are answered at once.",
    "kv_unified": "All slots share the context; otherwise each has its part.",
    "flash_attn": "Flash Attention. auto: where the device can.",
    "cache_type_k": "Type of the K cache. Without it, f16.",
    "cache_type_v": "Type of the V cache. A quantized one needs flash_attn.",
    "load_mode": "How the weights come into memory.",
    "mmproj": "The projector that lets a model see. auto: the one beside the model.",
    "lora": "LoRA adapters: paths, or path and scale of each.",
    "model_draft": "A small model that guesses ahead.",
    "jinja": "Jinja chat templates.",
    "extra_args": "Further flags of llama-server, each a text of its own.",
}


class SettingHelp(NamedTuple):
    name: str
    what: str
    takes: str
    base: str  # MAGI's own value


def settings_help() -> list[SettingHelp]:
    """Return a line for each setting that there is, in their order."""
    return [
        SettingHelp(name, what, _takes(name), _shown(FIELDS[name].base))
        for name, what in _WHAT.items()
    ]


def _takes(name: str) -> str:
    """Return what a setting may be: what it says of a value that it cannot be."""
    if name == "extra_args":
        return "A list of texts."
    (_, sentence), *_ = FIELDS[name].judge(object())
    words = sentence.removeprefix("Give ").removeprefix("one of: ")
    return words[:1].upper() + words[1:]


def _shown(value: object) -> str:
    if value is None or value == []:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
