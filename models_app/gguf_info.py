"""What a GGUF header says, in the words of the GGUF specification.

Source: "Standardized key-value pairs", https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from dataclasses import dataclass

from models_app.chat_template import has_thinking_switch, shows_tools
from models_app.ggml_types import FILE_TYPE_GUESSED, FILE_TYPES

Scalar = int | float | bool | str
Value = Scalar | list[Scalar]

POOLING_TYPES = ("none", "mean", "cls", "last", "rank")  # enum llama_pooling_type

_MAX_INT = 2**63 - 1  # what a database column holds


@dataclass(frozen=True, slots=True)
class GGUFInfo:
    """A header that has been read. Properties are None where the file says nothing usable."""

    version: int
    is_big_endian: bool
    file_size: int
    metadata: dict[str, Value]  # without long arrays and those of the tokenizer
    array_lengths: dict[str, int]  # of every array, kept or not
    tensor_count: int
    parameter_count: int
    tensor_types: dict[str, int]  # elements by type
    data_end: int  # bytes the file must have for its tensors to be complete

    @property
    def architecture(self) -> str:
        return self._text("general.architecture")

    @property
    def general_type(self) -> str:
        """`model`, `adapter`, `mmproj` or `imatrix`; empty in older files."""
        return self._text("general.type")

    @property
    def name(self) -> str:
        return self._text("general.name")

    @property
    def size_label(self) -> str:
        return self._text("general.size_label")

    @property
    def file_type_name(self) -> str:
        """The quantization that the file says it has; empty when it does not."""
        file_type = self._int("general.file_type")
        if file_type is None:
            return ""
        return FILE_TYPES.get(file_type & ~FILE_TYPE_GUESSED, "")

    @property
    def dominant_tensor_type(self) -> str:
        """The type that most of the weights have; empty without tensors."""
        return max(self.tensor_types, key=self.tensor_types.__getitem__, default="")

    @property
    def context_length(self) -> int | None:
        return self._arch_int("context_length")

    @property
    def block_count(self) -> int | None:
        return self._arch_int("block_count")

    @property
    def embedding_length(self) -> int | None:
        return self._arch_int("embedding_length")

    @property
    def head_count(self) -> int | None:
        heads = self._heads("attention.head_count")
        return max(heads) if isinstance(heads, tuple) else heads

    @property
    def head_count_kv(self) -> int | tuple[int, ...] | None:
        """One number, or one for each layer where layers differ."""
        return self._heads("attention.head_count_kv")

    @property
    def key_length(self) -> int | None:
        """Width of one head's key; without a word on it, the even share of a head."""
        return self._arch_int("attention.key_length") or self._head_width()

    @property
    def value_length(self) -> int | None:
        return self._arch_int("attention.value_length") or self._head_width()

    @property
    def expert_count(self) -> int | None:
        return self._arch_int("expert_count")

    @property
    def is_moe(self) -> bool:
        return (self.expert_count or 0) > 1

    @property
    def expert_used_count(self) -> int | None:
        return self._arch_int("expert_used_count")

    @property
    def vocab_size(self) -> int | None:
        size = self._arch_int("vocab_size") or self.array_lengths.get("tokenizer.ggml.tokens")
        return size if size is None or size <= _MAX_INT else None

    @property
    def pooling_type(self) -> str:
        """One of POOLING_TYPES; empty when the file does not say."""
        index = self._arch_int("pooling_type")
        return "" if index is None or index >= len(POOLING_TYPES) else POOLING_TYPES[index]

    @property
    def projection_dim(self) -> int | None:
        """Of a projector: the width of the model that it belongs to."""
        return self._int("clip.vision.projection_dim") or self._int("clip.audio.projection_dim")

    @property
    def chat_template(self) -> str:
        return self._text("tokenizer.chat_template")

    @property
    def license(self) -> str:
        """An SPDX identifier; where that says `other`, the name that it goes by."""
        license_id = self._text("general.license")
        if license_id in {"", "other"}:
            return self._text("general.license.name") or license_id
        return license_id

    @property
    def quantized_by(self) -> str:
        return self._text("general.quantized_by")

    @property
    def base_model(self) -> str:
        """`ORG/NAME` of the first base model, or its bare name."""
        url = self._text("general.base_model.0.repo_url")
        prefix = "https://huggingface.co/"
        if url.startswith(prefix):
            return url.removeprefix(prefix).strip("/")
        return self._text("general.base_model.0.name")

    @property
    def split_no(self) -> int:
        """Which shard this is; counts from 0."""
        return self._int("split.no") or 0

    @property
    def split_count(self) -> int:
        """How many shards the model has; 0 for a model that is not split."""
        return self._int("split.count") or 0

    @property
    def is_split(self) -> bool:
        return self.split_count > 1

    @property
    def has_tokenizer(self) -> bool:
        return "tokenizer.ggml.model" in self.metadata or any(
            key.startswith("tokenizer.") for key in self.array_lengths
        )

    @property
    def is_vocab_only(self) -> bool:
        """A tokenizer without weights. The first shard of a split model may look like one."""
        return self.tensor_count == 0 and self.has_tokenizer and not self.is_split

    @property
    def is_projector(self) -> bool:
        return self.architecture == "clip" or self.general_type == "mmproj"

    @property
    def is_adapter(self) -> bool:
        return self.general_type == "adapter" or "adapter.type" in self.metadata

    @property
    def is_imatrix(self) -> bool:
        return self.general_type == "imatrix"

    @property
    def supports_thinking(self) -> bool:
        """Whether the chat template has a switch that turns thinking on or off."""
        return has_thinking_switch(self.chat_template)

    @property
    def supports_tools(self) -> bool:
        """Whether the chat template tells the model which tools there are."""
        return bool(self._text("tokenizer.chat_template.tool_use")) or shows_tools(
            self.chat_template
        )

    def _text(self, key: str) -> str:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else ""

    def _int(self, key: str) -> int | None:
        return _natural(self.metadata.get(key))

    def _arch_int(self, key: str) -> int | None:
        return self._int(f"{self.architecture}.{key}")

    def _heads(self, key: str) -> int | tuple[int, ...] | None:
        value = self.metadata.get(f"{self.architecture}.{key}")
        if not isinstance(value, list):
            return _natural(value)
        heads = tuple(_natural(item) or 0 for item in value)
        if not heads:
            return None
        return heads[0] if len(set(heads)) == 1 else heads

    def _head_width(self) -> int | None:
        width, heads = self.embedding_length, self.head_count
        return width // heads if width and heads else None


def _natural(value: object) -> int | None:
    """Return `value` when it is a whole number that a database can hold."""
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= _MAX_INT else None
