"""The form of the admin that asks for a comparison."""

from typing import Any, Final, NamedTuple

from django import forms

from models_app.errors import ModelsError
from models_app.lookup import get_model
from models_app.models import DiscoveredModel, ModelKind
from models_app.task_kinds import TaskKind
from servers_app.comparing import service
from servers_app.comparing.prompts import MAX_TEXT_CHARS, Prompt, read_prompts, shipped
from servers_app.errors import ServersError

MAX_CHOICES: Final = 1000  # models in a list; more can be asked for by the API


class Asked(NamedTuple):
    """What a form without errors asks for."""

    models: tuple[DiscoveredModel, DiscoveredModel]
    prompts: list[Prompt]
    name: str
    settings: dict[str, Any]


class ComparisonForm(forms.Form):
    model_a = forms.ChoiceField(label="The first model")
    model_b = forms.ChoiceField(label="The second model")
    task = forms.ChoiceField(
        label="Task",
        choices=TaskKind.choices,
        help_text="What the prompts are about. Without any of your own, those that ship are "
        "taken.",
    )
    prompts = forms.CharField(
        required=False,
        max_length=MAX_TEXT_CHARS,
        widget=forms.Textarea(attrs={"rows": 6}),
        help_text='One a line; or an object a line: {"prompt": "…", "task": "coding"}.',
    )
    name = forms.CharField(required=False, max_length=service.MAX_NAME_CHARS)
    system = forms.CharField(
        label="System prompt",
        required=False,
        max_length=service.MAX_SYSTEM_CHARS,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    max_tokens = forms.IntegerField(
        min_value=1, max_value=service.MAX_TOKENS, initial=service.DEFAULTS["max_tokens"]
    )
    temperature = forms.FloatField(
        min_value=0,
        max_value=service.MAX_TEMPERATURE,
        initial=service.DEFAULTS["temperature"],
    )
    seed = forms.IntegerField(
        min_value=0, max_value=service.MAX_SEED, initial=service.DEFAULTS["seed"]
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        rows = (
            DiscoveredModel.objects.filter(is_missing=False, problem="")
            .exclude(kind=ModelKind.RERANKER)
            .order_by("display_name", "model_id")
            .values_list("model_id", "display_name")[:MAX_CHOICES]
        )
        choices = [("", "…"), *((id_, f"{name} ({id_})") for id_, name in rows)]
        for name in ("model_a", "model_b"):
            self.fields[name].choices = choices  # type: ignore[attr-defined]  # a ChoiceField

    def clean(self) -> dict[str, Any]:
        if not self.errors:
            try:
                asked = self.asked()
                service.check_models(*asked.models, asked.prompts)
                service.checked_settings(asked.settings)
            except (ServersError, ModelsError) as error:
                raise forms.ValidationError(str(error)) from error
        return self.cleaned_data

    def asked(self) -> Asked:
        """Return what is asked for.

        Raises:
            ComparisonInvalidError: the prompts are none.
            UnknownModelError: a model has gone since.
        """
        values = self.cleaned_data
        task, text = values["task"], values["prompts"]
        prompts = read_prompts(text, task=task) if text.strip() else shipped(task)
        models = get_model(values["model_a"]), get_model(values["model_b"])
        settings = {name: values[name] for name in service.DEFAULTS}
        return Asked(models, prompts, values["name"], settings)
