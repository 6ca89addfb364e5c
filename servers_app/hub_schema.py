"""What the calls that look for models at the hub take and answer, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from models_app.api_schema import answer, errors
from models_app.hubsearch.searching import MAX_FOUND, MAX_WORDS_CHARS, SORTS
from models_app.query_params import Choice, Text, WholeNumber

TAGS: Final = ["Model manager"]


class SearchQuerySerializer(serializers.Serializer[Any]):
    """What is looked for."""

    q = Text(MAX_WORDS_CHARS, required=False, help_text="Words of a repo's name.")
    limit = WholeNumber(1, MAX_FOUND, required=False)
    sort = Choice(SORTS, required=False)


class QuantsQuerySerializer(serializers.Serializer[Any]):
    """Whose quantizations are listed, and for which node."""

    repo = Text(
        300, help_text="As `org/repo`.", error_messages={"required": "name one, as org/repo."}
    )
    revision = Text(100, required=False, help_text="A branch, a tag or a commit.")
    node = Text(100, required=False, help_text="Without it: the one that answers.")


class FoundRepoSerializer(serializers.Serializer[Any]):
    """A repo with GGUF files; null is what the hub does not say."""

    repo = serializers.CharField()
    downloads = serializers.IntegerField(allow_null=True, help_text="In the last 30 days.")
    likes = serializers.IntegerField(allow_null=True)
    updated_at = serializers.DateTimeField(allow_null=True)
    is_gated = serializers.BooleanField(help_text="Its licence is to be accepted first.")
    parameter_count = serializers.IntegerField(allow_null=True)
    architecture = serializers.CharField()
    context_length = serializers.IntegerField(allow_null=True)


class FoundSerializer(serializers.Serializer[Any]):
    query = serializers.CharField()
    count = serializers.IntegerField()
    repos = FoundRepoSerializer(many=True)


class QuantSerializer(serializers.Serializer[Any]):
    """One model of a repo, as it would be pulled."""

    reference = serializers.CharField(help_text="What a download takes.")
    quantization = serializers.CharField(help_text="Empty where no name says it.")
    bits_per_weight = serializers.FloatField(allow_null=True)
    size_bytes = serializers.IntegerField(
        allow_null=True, help_text="All shards with the projector."
    )
    projector_bytes = serializers.IntegerField()
    shard_count = serializers.IntegerField()
    is_whole = serializers.BooleanField(help_text="Whether the repo has all its shards.")
    is_usual = serializers.BooleanField(help_text="What `org/repo` alone stands for.")
    files = serializers.ListField(child=serializers.CharField())
    memory_mib = serializers.IntegerField(
        allow_null=True, help_text="At least: weights and room to compute, without a cache."
    )
    fit = serializers.CharField(
        allow_null=True,
        help_text="`fits now`, `fits, others give way`, `needs others stopped` or `too large`; "
        "null where nobody knows.",
    )
    fits_disk = serializers.BooleanField(allow_null=True)
    model_id = serializers.CharField(allow_null=True, help_text="That it is here as.")


class QuantsSerializer(serializers.Serializer[Any]):
    repo = serializers.CharField()
    commit = serializers.CharField()
    node = serializers.CharField()
    disk_free_bytes = serializers.IntegerField(allow_null=True)
    quants = QuantSerializer(many=True, help_text="The smallest first.")


_REPO: Final = "unsloth/Qwen3-4B-GGUF"
SEARCH: Final = extend_schema(
    operation_id="search_hub",
    summary="Look for models at the hub",
    description="Repos of the Hugging Face Hub (or what `HF_ENDPOINT` names) with GGUF files.",
    tags=TAGS,
    parameters=[SearchQuerySerializer],
    responses={
        200: answer(
            FoundSerializer,
            {
                "query": "qwen3 4b",
                "count": 1,
                "repos": [
                    {
                        "repo": _REPO,
                        "downloads": 81234,
                        "likes": 97,
                        "updated_at": "2026-07-01T12:00:00+00:00",
                        "is_gated": False,
                        "parameter_count": 4022468096,
                        "architecture": "qwen3",
                        "context_length": 40960,
                    }
                ],
            },
        ),
        **errors(
            {
                400: "limit=0: it is a number from 1 to 100.",
                409: "https://hub.example does not answer as a hub does. Is HF_ENDPOINT right?",
                503: "A search cannot be asked for: HF_HUB_OFFLINE is set. Unset it.",
            }
        ),
    },
)
QUANTS: Final = extend_schema(
    operation_id="list_quants",
    summary="The quantizations of a repo",
    description="With sizes, shards and projectors, and whether each fits a node: `memory_mib` "
    "is what it takes at least, `fit` has the words of a model's page in the admin.",
    tags=TAGS,
    parameters=[QuantsQuerySerializer],
    responses={
        200: answer(
            QuantsSerializer,
            {
                "repo": _REPO,
                "commit": "22a880cf3e0b2d9e4b7a3d2e3d0f6a1b5c4d3e2f",
                "node": "local",
                "disk_free_bytes": 107374182400,
                "quants": [
                    {
                        "reference": f"{_REPO}:Q4_K_M",
                        "quantization": "Q4_K_M",
                        "bits_per_weight": 4.85,
                        "size_bytes": 2497281312,
                        "projector_bytes": 0,
                        "shard_count": 1,
                        "is_whole": True,
                        "is_usual": True,
                        "files": ["Qwen3-4B-Q4_K_M.gguf"],
                        "memory_mib": 2638,
                        "fit": "fits now",
                        "fits_disk": True,
                        "model_id": None,
                    }
                ],
            },
        ),
        **errors(
            {
                400: "repo: name one, as org/repo.",
                404: "https://huggingface.co has no unsloth/Qwen9 that we may see.",
                409: "org/name is gated. Accept its licence, set HF_TOKEN, and ask again.",
                503: "https://huggingface.co does not answer as it should. Ask again later.",
            }
        ),
    },
)
