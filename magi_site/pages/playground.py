"""The playground: a chat with what the gateway serves, and how each answer came to be.

A script streams it from /v1, as any client would. Without one the form is sent here, and its
answer stands in the page.
"""

from typing import Any, Final

from django import forms
from django.http import HttpRequest, HttpResponse, JsonResponse

from magi_site.exposure import is_open
from magi_site.pages.page import AdminPage
from magi_site.pages.playground_answers import (
    KEY_VARIABLE,
    Answered,
    answer_to,
    as_curl,
    request_body,
)
from magi_site.pages.playground_targets import target_groups
from profiles_app.preset_models import Thinking
from profiles_app.presets import list_presets
from servers_app.complexity.scores import Score
from servers_app.complexity.scoring import explain
from servers_app.gateway.routes import AUTO
from servers_app.gateway.table import table_now
from servers_app.request_models import RequestRecord

INFER: Final = "servers_app.infer"
SEE_REQUESTS: Final = "servers_app.view_requestrecord"
MAX_PROMPT_CHARS: Final = 2**20
MAX_TOKENS: Final = 2**31 - 1


class PlaygroundForm(forms.Form):
    """A question, and to whom it goes."""

    model = forms.CharField(max_length=200)
    preset = forms.CharField(max_length=64, required=False)
    max_tokens = forms.IntegerField(min_value=1, max_value=MAX_TOKENS, required=False)
    temperature = forms.FloatField(min_value=0, max_value=10, required=False)
    system = forms.CharField(max_length=MAX_PROMPT_CHARS, required=False)
    prompt = forms.CharField(
        max_length=MAX_PROMPT_CHARS, error_messages={"required": "Write a message first."}
    )

    def body(self) -> dict[str, Any]:
        """Return the request that a form without errors asks for."""
        values = self.cleaned_data
        messages = [{"role": "user", "content": values["prompt"]}]
        if values["system"]:
            messages.insert(0, {"role": "system", "content": values["system"]})
        return request_body(
            values["model"],
            messages,
            preset=values["preset"],
            max_tokens=values["max_tokens"],
            temperature=values["temperature"],
        )


class PlaygroundPage(AdminPage):
    title = "Playground"
    permission = INFER
    template_name = "admin/magi/playground.html"

    def post(self, request: HttpRequest) -> HttpResponse:
        form = PlaygroundForm(request.POST)
        if not form.is_valid():
            return self.render_to_response(self.get_context_data(form=form))
        answered = answer_to(request, form.body())
        return self.render_to_response(self.get_context_data(form=form, answered=answered))

    def get_context_data(
        self, form: PlaygroundForm | None = None, answered: Answered | None = None, **_: Any
    ) -> dict[str, Any]:
        table = table_now()
        chosen = self.request.GET.get("model", AUTO)
        form = form or PlaygroundForm(initial={"model": chosen})
        needs_key = not is_open()
        base_url = self.request.build_absolute_uri("/").rstrip("/")
        return super().get_context_data(
            form=form,
            answered=answered,
            curl=as_curl(answered.body, base_url, needs_key=needs_key) if answered else "",
            groups=target_groups(table),
            profile=table.profile,
            preset=table.preset,
            presets=list_presets(),
            hidden=Thinking.HIDE,
            base_url=base_url,
            key_variable=KEY_VARIABLE if needs_key else "",
            may_see_requests=self.request.user.has_perm(SEE_REQUESTS),
        )


class PlaygroundRequest(AdminPage):
    """What was written down of a request, as JSON: null until it is."""

    permission = SEE_REQUESTS

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> JsonResponse:
        rows = RequestRecord.objects.filter(request_id=kwargs["request_id"])
        row = rows.order_by("-at").first()  # a client may name two of its requests the same
        return JsonResponse({"request": row and _shown(row)})


def _shown(row: RequestRecord) -> dict[str, Any]:
    score = None if row.score is None else Score(row.score, row.scored_by, row.factors)
    return {
        "model": row.model_id,
        "tier": row.tier,
        "outcome": row.get_outcome_display(),
        "score": row.score,
        "scored_by": row.scored_by,
        "factors": explain(score) if score else [],
        "queued_ms": row.queued_ms,
        "prompt_tokens": row.prompt_tokens,
        "cached_tokens": row.cached_tokens,
        "completion_tokens": row.completion_tokens,
    }
