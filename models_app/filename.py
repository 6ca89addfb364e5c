"""Read what the name of a GGUF file says about the model in it.

Source: "GGUF Naming Convention", https://github.com/ggml-org/ggml/blob/master/docs/gguf.md,
which few files keep to: names are therefore cut into tokens, and each token is asked what
it is.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from models_app.quantizations import Encoding, find_encoding
from models_app.sizes import Size, parse_active_params

MAX_FAMILY = 40  # characters; a name of 255 is cut to what an id and a column hold
MAX_VERSION = 16
MAX_VARIANT = 80

_SUFFIXES = (".gguf", ".sbs", ":latest")  # Ollama's word for a model without a tag
_SHARD = re.compile(r"-(?P<index>\d{5})-of-(?P<total>\d{5})$", re.ASCII)
_SEPARATORS = re.compile(r"[-_:\s+@,()\[\]]+|(?<!\d)\.|\.(?!\d)")
# A dot written as an underscore: `zephyr-1_6b`, `Llama-3_1-Nemotron`; not `llama_2_7b`.
_UNDERSCORED = re.compile(r"(?<=-)(\d)_(\d+[bm]?)(?=[-.]|$)", re.IGNORECASE | re.ASCII)
_FAMILY = re.compile(
    r"(?P<family>[a-z][a-z]*?)(?P<version>\d+(?:\.\d+)*)?", re.IGNORECASE | re.ASCII
)
_VERSION = re.compile(r"\d{1,2}(?:\.\d{1,2})*", re.ASCII)

# Who converted or made a model, where it stands in front of the model's own name.
_PUBLISHERS = {
    ("deepseek", "ai"), ("lmstudio", "community"), ("open", "thoughts"), ("zai", "org"),
} | {
    (name,)
    for name in (
        "allenai", "apple", "bartowski", "baai", "c4ai", "cohereforai", "coherelabs",
        "facebook", "google", "huggingfacetb", "ibm", "intel", "internlm", "liquidai",
        "lmstudio", "maziyarpanahi", "meta", "microsoft", "mistralai", "moonshotai",
        "mradermacher", "nousresearch", "nvidia", "openai", "thebloke",
        "thudm", "tiiuae", "unsloth",
    )
}  # fmt: skip
_NO_FAMILY = {"ggml", "model", "gguf"}  # llama.cpp's own names: ggml-model-Q4_K_M.gguf
_NOT_VARIANT = {"instruct", "it", "chat", "gguf"}
_INSTRUCT = {"instruct", "it", "chat"}
_CODER = {"coder", "code"}
_CODER_FAMILIES = {
    "codegemma", "codellama", "codeqwen", "codestral", "devstral", "opencoder",
    "starcoder", "wizardcoder",
}  # fmt: skip
# Words by which a model is known to think: `*` at an end of one stands for any text.
DEFAULT_THINKING_WORDS = (
    "r1*", "o1", "qwq*", "think*", "*thinker*", "reason*", "magistral*", "z1",
)  # fmt: skip
_NEGATIONS = {"no", "non", "not", "without"}


@dataclass(frozen=True, slots=True)
class Shard:
    """Position of one file in a split model; `index` counts from 1."""

    index: int
    total: int

    @classmethod
    def parse(cls, stem: str) -> Self | None:
        """Return the shard suffix of a file stem, or None for an unsplit model.

        >>> Shard.parse("Grok-100B-v1.0-Q4_0-00003-of-00009")
        Shard(index=3, total=9)
        """
        match = _SHARD.search(stem)
        if match is None:
            return None
        shard = cls(index=int(match["index"]), total=int(match["total"]))
        return shard if 1 <= shard.index <= shard.total else None


@dataclass(frozen=True, slots=True)
class NameParts:
    """A file name taken apart. Text is empty and numbers are None where it says nothing."""

    family: str  # lower case, without its digits: "qwen"
    version: str  # "2.5"
    variant: str  # the other words before the size, as written: "R1 0528 Qwen3"
    size_params: float | None  # billions
    active_params: float | None  # billions used for a token, of a mixture of experts
    size_text: str  # as it stands in a model id: "135m", "8x7b", "4p0b"
    quantization: str  # upper case: "Q4_K_M"
    shard: Shard | None
    is_instruct: bool
    is_coder: bool
    is_thinking: bool
    is_embedding: bool
    is_reranker: bool
    is_projector: bool
    is_imatrix: bool
    is_adapter: bool


def split_stem(filename: str) -> str:
    """Return the name without `.gguf` and shard suffix; the shards of a model share it."""
    return _SHARD.sub("", _stem(filename))


def parse_filename(
    filename: str, thinking_words: Iterable[str] = DEFAULT_THINKING_WORDS
) -> NameParts:
    """Take the name of a model file apart. Any text gives an answer; nothing is raised.

    Args:
        filename: of a GGUF file, of gemma.cpp's weights, or an Ollama model and its tag.
        thinking_words: each is compared with whole tokens of the name, in either case.
            `r1*` is R1 and what begins with it, but no longer number: not R10.

    >>> parts = parse_filename("qwen2.5-coder-14b-instruct-q4_k_m.gguf")
    >>> parts.family, parts.version, parts.variant, parts.size_params, parts.quantization
    ('qwen', '2.5', 'coder', 14.0, 'Q4_K_M')
    """
    return _parse(filename, tuple(thinking_words))


@lru_cache(maxsize=256)  # a scan asks for each name a few times, one soon after the other
def _parse(filename: str, thinking_words: tuple[str, ...]) -> NameParts:
    stem = _stem(filename)
    text = _UNDERSCORED.sub(r"\1.\2", _SHARD.sub("", stem))
    tokens = [token for token in _SEPARATORS.split(text) if token]
    encoding = find_encoding(tokens)
    words = [token.lower() for token in tokens]

    name = _without_publisher(_name_tokens(tokens, encoding))
    size_index, size = _find_size(name)
    family, version, used = _family(name[:size_index])
    variant = [token for token in name[used:size_index] if not _is_noise(token)]
    active = [value for token in name if (value := parse_active_params(token)) is not None]
    return NameParts(
        family=family[:MAX_FAMILY],
        version=version[:MAX_VERSION],
        variant=" ".join(variant)[:MAX_VARIANT].rstrip(),
        size_params=size.params if size else None,
        active_params=active[0] if active else None,
        size_text=size.text if size else "",
        quantization=encoding.quantization,
        shard=Shard.parse(stem),
        is_instruct=not _INSTRUCT.isdisjoint(words),
        is_coder=any(_is_coder(word) for word in words),
        is_thinking=_is_thinking(words, _thinking_pattern(thinking_words)),
        is_embedding=any(word.startswith("embed") for word in words),
        is_reranker=any(word.startswith("rerank") for word in words),
        is_projector="mmproj" in words,
        is_imatrix="imatrix" in words and not encoding.quantization,
        is_adapter=not {"lora", "adapter"}.isdisjoint(words),
    )


def _stem(filename: str) -> str:
    lower = filename.lower()
    for suffix in _SUFFIXES:
        if lower.endswith(suffix):
            return filename[: -len(suffix)]
    return filename


def _name_tokens(tokens: Sequence[str], encoding: Encoding) -> list[str]:
    """Return the tokens that are neither encoding nor llama.cpp's own words."""
    kept = [*tokens[: encoding.start], *tokens[encoding.stop :]]
    return [
        token
        for token in kept
        if token.lower() not in {"mmproj", "imat", "imatrix", "i1", "ud", *_NO_FAMILY}
    ]


def _without_publisher(name: list[str]) -> list[str]:
    """Drop `Meta-`, `unsloth_`, `deepseek-ai_`… as long as a name is left after it."""
    while taken := _publisher_length(name):
        name = name[taken:]
    return name


def _publisher_length(name: Sequence[str]) -> int:
    """Return how many tokens in front of the model's own name name its publisher."""
    words = [token.lower() for token in name[:2]]
    for length in (2, 1):
        if tuple(words[:length]) in _PUBLISHERS and _starts_name(name[length:]):
            return length
    if len(words) < 2 or not _starts_name(name[1:]):
        return 0
    repeats = len(words[0]) > 1 and words[1].startswith(words[0])  # Qwen_Qwen3
    return 1 if repeats or words == ["qwen", "qwq"] else 0


def _starts_name(name: Sequence[str]) -> bool:
    return bool(name) and name[0][0].isalpha() and Size.parse(name[0]) is None


def _find_size(name: Sequence[str]) -> tuple[int, Size | None]:
    """Return the first size and where it stands; the end of the name without one."""
    for index, token in enumerate(name):
        if (size := Size.parse(token)) is not None:
            return index, size
    return len(name), None


def _family(name: Sequence[str]) -> tuple[str, str, int]:
    """Return family, version, and how many tokens they took."""
    if not name:
        return "", "", 0
    first = name[0]
    match = _FAMILY.fullmatch(first)
    if match is None:
        if not first[0].isalpha():
            return "", "", 0
        return first.lower(), "", 1
    family, version = match["family"].lower(), match["version"] or ""
    if not version and len(name) > 1 and _VERSION.fullmatch(name[1]):
        return family, name[1], 2
    return family, version, 1


def _is_noise(token: str) -> bool:
    return token.lower() in _NOT_VARIANT or parse_active_params(token) is not None


def _is_coder(word: str) -> bool:
    return word in _CODER or word.rstrip("0123456789.") in _CODER_FAMILIES


@lru_cache(maxsize=16)
def _thinking_pattern(thinking_words: tuple[str, ...]) -> re.Pattern[str]:
    """Return what a token that says "it thinks" looks like; without words, none does."""
    patterns = []
    for word in thinking_words:
        glob = word.strip().lower().replace("…", "*")
        text = glob.strip("*")
        if not text:
            continue
        before = ".*" if glob.startswith("*") else ""
        after = ".*" if glob.endswith("*") else ""
        if after and text[-1].isdigit():
            after = r"(?!\d).*"
        patterns.append(before + re.escape(text) + after)
    return re.compile("|".join(patterns) or r"(?!)", re.DOTALL)


def _is_thinking(words: Sequence[str], pattern: re.Pattern[str]) -> bool:
    return any(
        pattern.fullmatch(word) and (index == 0 or words[index - 1] not in _NEGATIONS)
        for index, word in enumerate(words)
    )
