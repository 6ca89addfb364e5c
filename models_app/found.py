"""A model that a scan found: what its file name and its header say, put together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models_app.filename import DEFAULT_THINKING_WORDS, NameParts, Shard, parse_filename
from models_app.ggml_types import GGML_TYPES_BY_NAME, bits_per_weight
from models_app.gguf_info import GGUFInfo
from models_app.known import KnownFile
from models_app.scanned import ModelFiles
from models_app.sizes import Size, parse_active_params

TEXT = "text"
VISION = "vision"
EMBEDDING = "embedding"
RERANKER = "reranker"

_EMBEDDING_ARCHITECTURES = {
    "bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert",
    "neo-bert", "nomic-bert", "nomic-bert-moe", "t5encoder",
}  # fmt: skip
_MOST_NAMED = 10  # missing shards, in a sentence
_VISION_ARCHITECTURES = {"qwen2vl", "qwen3vl", "qwen3vlmoe"}


@dataclass(frozen=True, slots=True)
class FoundModel:
    """Everything that a registry row needs. Text is empty where nothing is known."""

    root_path: Path
    # "hf:ORG/NAME:path/in/repo.gguf", "ollama:HOST/NAMESPACE/MODEL:TAG", or canonical path
    identity: str
    file_path: Path  # what llama-server is given: the link, it finds no shards beside a blob
    blob_path: Path  # where the bytes are
    filename: str
    repo_id: str
    signature: KnownFile

    family: str
    version: str
    variant: str
    size_params: float | None  # billions
    active_params: float | None  # billions
    size_text: str
    quantization: str
    is_thinking_model: bool
    supports_thinking: bool
    supports_tools: bool
    is_instruct: bool
    is_coder: bool
    kind: str  # TEXT, VISION, EMBEDDING or RERANKER

    architecture: str
    name: str
    context_length: int | None
    parameter_count: int | None
    size_bytes: int  # all shards together
    block_count: int | None
    head_count: int | None
    head_count_kv: int | tuple[int, ...] | None
    key_length: int | None
    value_length: int | None
    embedding_length: int | None
    vocab_size: int | None
    expert_count: int | None
    expert_used_count: int | None
    projector_path: Path | None
    shard_count: int
    missing_shards: tuple[int, ...]  # counted from 1; those that cannot be read are missing
    problem: str  # why it cannot run; empty if it can
    warnings: tuple[str, ...]
    license: str
    base_model: str
    quantized_by: str
    chat_template: str

    @property
    def is_incomplete(self) -> bool:
        return bool(self.missing_shards)


def make_found_model(
    group: ModelFiles,
    headers: Mapping[int, GGUFInfo],
    *,
    blob_path: Path,
    projector_path: Path | None,
    signature: KnownFile,
    thinking_words: Iterable[str] = DEFAULT_THINKING_WORDS,
) -> FoundModel:
    """Put a model together.

    Args:
        group: its files; the first one is the first shard.
        headers: by number of shard, of the files that could be read; 1 is there always.
        signature: what its files looked like before they were read.
        thinking_words: as parse_filename takes them.
    """
    first, info, infos = group.files[0], headers[1], list(headers.values())
    parts = parse_filename(group.filename, thinking_words)
    shard = Shard.parse(first.path.stem)
    shard_count = shard.total if shard else 1
    missing = tuple(index for index in range(1, shard_count + 1) if index not in headers)
    named = parts if parts.family else parse_filename(info.name)
    parameter_count = sum(item.parameter_count for item in infos)
    size = _size(parts, info, parameter_count)
    quantization = parts.quantization or info.file_type_name or _commonest_type(infos)
    kind = _kind(parts, info, has_projector=projector_path is not None)
    return FoundModel(
        root_path=group.root,
        identity=group.identity,
        file_path=first.path,
        blob_path=blob_path,
        filename=group.filename,
        repo_id=group.repo_id,
        signature=signature,
        family=named.family or info.architecture or "unknown",
        version=named.version,
        variant=named.variant,
        size_params=size.params if size else None,
        active_params=_active_params(parts, info),
        size_text=size.text if size else "",
        quantization=quantization,
        is_thinking_model=parts.is_thinking,
        supports_thinking=info.supports_thinking,
        supports_tools=info.supports_tools,
        is_instruct=parts.is_instruct,
        is_coder=parts.is_coder,
        kind=kind,
        architecture=info.architecture,
        name=info.name,
        context_length=info.context_length,
        parameter_count=parameter_count or None,
        size_bytes=signature.size_bytes,
        block_count=info.block_count,
        head_count=info.head_count,
        head_count_kv=info.head_count_kv,
        key_length=info.key_length,
        value_length=info.value_length,
        embedding_length=info.embedding_length,
        vocab_size=info.vocab_size,
        expert_count=info.expert_count,
        expert_used_count=info.expert_used_count,
        projector_path=projector_path,
        shard_count=shard_count,
        missing_shards=missing,
        problem=group.problem or _problem(shard, info, missing),
        warnings=(*group.warnings, *_warnings(parts, infos, kind)),
        license=info.license,
        base_model=info.base_model,
        quantized_by=info.quantized_by,
        chat_template=info.chat_template,
    )


def _size(parts: NameParts, info: GGUFInfo, parameter_count: int) -> Size | None:
    if parts.size_params is not None:
        return Size(parts.size_params, parts.size_text)
    label = info.size_label.partition("-")[0]  # of "30B-A3B"
    return Size.parse(label) or Size.of_count(parameter_count)


def _active_params(parts: NameParts, info: GGUFInfo) -> float | None:
    if parts.active_params is not None:
        return parts.active_params
    return parse_active_params(info.size_label.rpartition("-")[2])


def _commonest_type(infos: Sequence[GGUFInfo]) -> str:
    counts: dict[str, int] = {}
    for info in infos:
        for name, elements in info.tensor_types.items():
            counts[name] = counts.get(name, 0) + elements
    known = [name for name in counts if name in GGML_TYPES_BY_NAME]
    return max(known, key=counts.__getitem__, default="")


def _kind(parts: NameParts, info: GGUFInfo, *, has_projector: bool) -> str:
    """Return the kind; a reranker's name is asked before an encoder's architecture.

    Rerankers are encoders as well, and older conversions do not say that they rank.
    """
    if info.pooling_type == "rank" or parts.is_reranker:
        return RERANKER
    pools = info.pooling_type in {"mean", "cls", "last"}
    if pools or info.architecture in _EMBEDDING_ARCHITECTURES or parts.is_embedding:
        return EMBEDDING
    return VISION if has_projector else TEXT


def _problem(shard: Shard | None, info: GGUFInfo, missing: tuple[int, ...]) -> str:
    if missing and shard is not None:
        which = ", ".join(str(index) for index in missing[:_MOST_NAMED])
        if len(missing) > _MOST_NAMED:
            which += "…"
        noun, verb = ("shard", "is") if len(missing) == 1 else ("shards", "are")
        return f"incomplete: {noun} {which} of {shard.total} {verb} missing"
    if shard is None and info.is_split:
        return (
            f"shard 1 of {info.split_count} was renamed: "
            f"llama-server wants -00001-of-{info.split_count:05} at the end of its name"
        )
    return ""


def _warnings(parts: NameParts, infos: Sequence[GGUFInfo], kind: str) -> list[str]:
    warnings = []
    says = infos[0].file_type_name
    by_name, by_header = bits_per_weight(parts.quantization), bits_per_weight(says)
    if by_name is not None and by_header is not None and abs(by_name - by_header) > 1:
        warnings.append(f"the name says {parts.quantization}, the header {says}")
    unknown = {name for info in infos for name in info.tensor_types} - GGML_TYPES_BY_NAME.keys()
    if unknown:
        warnings.append(f"tensors of {', '.join(sorted(unknown))}, which MAGI does not know")
    if infos[0].architecture in _VISION_ARCHITECTURES and kind == TEXT:
        warnings.append("no projector (mmproj) beside it: it will not see images")
    return warnings
