"""What the calls under /ai/ take."""

from typing import Any, Final

from rest_framework import serializers

from models_app.download_models import HUBS
from models_app.query_params import Choice, Text, TrueOrFalse, WholeNumber
from profiles_app.fields import TextField, TruthField, WholeNumberField
from profiles_app.serializers import StrictSerializer
from servers_app.bench.plan import CLIENTS, CONTEXT, LONGEST, REPEATS, TOKENS
from servers_app.manager.names import MAX_NAME_CHARS
from servers_app.manager.suitability import TASKS

MAX_HISTORY: Final = 400
_NAME: Final = "A model id, an alias, name:tag (Ollama), or org/repo:QUANT (Hugging Face)."


class SwitchRequestSerializer(StrictSerializer):
    model_name = TextField(max_length=MAX_NAME_CHARS, help_text=_NAME)
    auto_pull = TruthField(
        default=False, help_text="Download it, if it is not here; then switch to it."
    )


class DownloadRequestSerializer(StrictSerializer):
    model_name = TextField(max_length=MAX_NAME_CHARS, help_text=_NAME)
    auto_switch = TruthField(default=False, help_text="Switch to it when it is here.")
    source = Choice(  # type: ignore[assignment]  # a field of that name
        [source for source, _ in HUBS],
        default="",
        help_text="Without it by the name: what has a / is the hub's.",
    )


class BenchmarkRequestSerializer(StrictSerializer):
    model_name = TextField(max_length=MAX_NAME_CHARS, help_text=_NAME)
    contexts = serializers.ListField(
        child=WholeNumberField(min_value=CONTEXT.least, max_value=CONTEXT.most),
        max_length=LONGEST, required=False,
        help_text="Lengths of prompts, in tokens.",
    )  # fmt: skip
    clients = serializers.ListField(
        child=WholeNumberField(min_value=CLIENTS.least, max_value=CLIENTS.most),
        max_length=LONGEST, required=False,
        help_text="How many ask at once.",
    )  # fmt: skip
    repeats = WholeNumberField(min_value=REPEATS.least, max_value=REPEATS.most, required=False)
    tokens = WholeNumberField(
        min_value=TOKENS.least,
        max_value=TOKENS.most,
        required=False,
        help_text="Of each answer.",
    )


class AvailableQuerySerializer(serializers.Serializer[Any]):
    refresh = TrueOrFalse(
        required=False, help_text="Measure performance now, not once in 24 hours."
    )


class SelectQuerySerializer(serializers.Serializer[Any]):
    task = Choice(TASKS)
    enabled = TrueOrFalse(required=False, help_text="Of the enabled models alone.")


class HistoryQuerySerializer(serializers.Serializer[Any]):
    model_name = Text(MAX_NAME_CHARS, help_text=_NAME)
    limit = WholeNumber(1, MAX_HISTORY, required=False)
