"""The whole registry in the guide's shape: models, whether enabled, what their servers do."""

from typing import Any

from django.db.models import Max

from models_app.models import DiscoveredModel, ScanRoot
from models_app.rules import current_rules
from models_app.serializers import ModelSerializer
from profiles_app.models import ProfileMember
from servers_app.models import Server, ServerState
from servers_app.ports import port_range


def registry_as_json() -> dict[str, Any]:
    """Return what `/api/models/registry` answers and `registry export` writes."""
    enabled = set(
        ProfileMember.objects.filter(profile__is_active=True).values_list("model_id", flat=True)
    )
    states = dict(Server.objects.values_list("model__model_id", "state"))
    models = {
        model.model_id: {
            **ModelSerializer(model).data,
            "enabled": model.model_id in enabled,
            "state": states.get(model.model_id, ServerState.STOPPED),
        }
        for model in DiscoveredModel.objects.all()
    }
    roots = ScanRoot.objects.filter(is_enabled=True)
    ports, rules = port_range(), current_rules()
    return {
        "models": models,
        "scan_path": ", ".join(roots.values_list("path", flat=True)),
        "last_scan": roots.aggregate(at=Max("last_scan_at"))["at"],
        "port_range": [ports.start, ports.stop - 1],
        "tier_thresholds": {"powerful_min": rules.powerful_min, "fast_max": rules.fast_max},
    }
