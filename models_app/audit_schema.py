"""What the call of the audit takes and answers, for the OpenAPI document."""

from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers

from models_app.api_schema import answer, errors
from models_app.audit_models import Action, AuditEntry, Via
from models_app.query_params import Choice, WholeNumber

MAX_PAGE: Final = 1_000_000


class AuditQuerySerializer(serializers.Serializer[Any]):
    """Which entries are wanted: those for which all of this holds."""

    who = serializers.CharField(required=False, max_length=150, help_text="Exactly.")
    via = Choice(Via.values, required=False)
    action = Choice(Action.values, required=False)
    kind = serializers.CharField(
        required=False, max_length=32, help_text="Of what was changed: model, profile, server…"
    )
    target = serializers.CharField(
        required=False, max_length=255, help_text="Its `target_id` or its `target_name`."
    )
    page = WholeNumber(1, MAX_PAGE, required=False, help_text="From 1.")


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    """A change: who, by which door, of what, and the fields that changed."""

    before = serializers.DictField(allow_null=True, read_only=True)
    after = serializers.DictField(allow_null=True, read_only=True)

    class Meta:
        model = AuditEntry
        fields = (
            "at",
            "who",
            "via",
            "action",
            "target_kind",
            "target_id",
            "target_name",
            "before",
            "after",
            "request_id",
        )
        read_only_fields = fields


class AuditSerializer(serializers.Serializer[Any]):
    """A page of the audit, the newest entries first."""

    count = serializers.IntegerField(help_text="Of all pages.")
    next = serializers.CharField(allow_null=True, help_text="The path of the page after this.")
    previous = serializers.CharField(allow_null=True)
    entries = AuditEntrySerializer(many=True)


AUDIT: Final = extend_schema(
    operation_id="list_audit",
    summary="Who changed what",
    description="What people changed, by the API, in the admin or by a command. Secrets are "
    "not in it. Keys need the scope `manage`.",
    tags=["Admin"],
    parameters=[AuditQuerySerializer],
    responses={
        200: answer(
            AuditSerializer,
            {
                "count": 1,
                "next": None,
                "previous": None,
                "entries": [
                    {
                        "at": "2026-11-21T20:30:00Z",
                        "who": "ada",
                        "via": "api",
                        "action": "override",
                        "target_kind": "model",
                        "target_id": "qwen3_4p0b_q4km_fast",
                        "target_name": "QWEN3 4.0B Q4_K_M",
                        "before": {"tier_override": ""},
                        "after": {"tier_override": "powerful"},
                        "request_id": "",
                    }
                ],
            },
        ),
        **errors(
            {
                400: "via=door: it is one of: api, admin, command, system.",
                404: "page=9: there are 3.",
            }
        ),
    },
)
