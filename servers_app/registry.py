"""The registry in the guide's shape: models, whether enabled, what their servers do."""

from typing import Any

from django.conf import settings
from django.db.models import F, Max, QuerySet

from models_app.copies import nodes_with
from models_app.lookup import get_model, unknown
from models_app.models import DiscoveredModel, ScanRoot
from models_app.rules import current_rules
from models_app.serializers import models_as_json
from models_app.version_schema import versions_as_json
from profiles_app.models import ProfileMember
from servers_app.models import Server, ServerState
from servers_app.ports import port_range

# A model's state is that of its server; of several, the one that stands first here.
MOST_ALIVE = (
    ServerState.READY,
    ServerState.UNHEALTHY,
    ServerState.STARTING,
    ServerState.STOPPING,
    ServerState.FAILED,
    ServerState.STOPPED,
)
_RANKS = {state.value: rank for rank, state in enumerate(MOST_ALIVE)}


def registry_as_json(models: QuerySet[DiscoveredModel] | None = None) -> dict[str, Any]:
    """Return what `/api/models/registry` answers and `registry export` writes.

    Args:
        models: those that are shown; all of them, if it is not given.
    """
    if models is None:
        models = DiscoveredModel.objects.all()
    roots = ScanRoot.objects.filter(is_enabled=True)
    ports, rules = port_range(), current_rules()
    return {
        "models": {model["model_id"]: model for model in list_as_json(models)},
        "scan_path": ", ".join(roots.values_list("path", flat=True)),
        "last_scan": roots.aggregate(at=Max("last_scan_at"))["at"],
        "port_range": [ports.start, ports.stop - 1],
        "tier_thresholds": {"powerful_min": rules.powerful_min, "fast_max": rules.fast_max},
    }


def list_as_json(models: QuerySet[DiscoveredModel]) -> list[dict[str, Any]]:
    """Return each as MODEL of the contract; four queries, however many there are."""
    enabled = set(
        ProfileMember.objects.filter(profile__is_active=True).values_list("model_id", flat=True)
    )
    states = _states()
    shown = models_as_json(models, also={"key": F("pk"), "home": F("root__node")})
    nodes = nodes_with(
        {
            model["key"]: "" if model["is_missing"] else model["home"] or settings.MAGI_NODE
            for model in shown
        }
    )
    for model in shown:
        del model["home"]
        model["enabled"] = model["model_id"] in enabled
        model["state"] = states.get(model["model_id"], ServerState.STOPPED.value)
        model["nodes"] = nodes[model.pop("key")]
    return shown


def model_as_json(model_id: str) -> dict[str, Any]:
    """Return MODEL with all that is known of it.

    Raises:
        UnknownModelError: no model has that id.
    """
    model = get_model(model_id)
    shown = list_as_json(DiscoveredModel.objects.filter(pk=model.pk))
    if not shown:  # removed since
        raise unknown(model_id)
    servers = Server.objects.filter(model=model).order_by("node", "replica")
    return {
        **shown[0],
        "variant": model.variant,
        "blob_path": model.blob_path,
        "node": model.root.node if model.root else None,
        "scan_root": model.root.path if model.root else None,
        "metadata": model.metadata,
        "notes": model.notes,
        "discovered_at": model.discovered_at,
        "updated_at": model.updated_at,
        "servers": list(servers.values("node", "replica", "state", "port")),
        "versions": versions_as_json(model),
    }


def _states() -> dict[str, str]:
    """Return the state of the servers of each model that was ever started, by its id."""
    states: dict[str, str] = {}
    rows = Server.objects.order_by().values_list("model__model_id", "state")
    for model_id, state in rows:
        known = states.setdefault(model_id, state)
        if _RANKS[state] < _RANKS[known]:
            states[model_id] = state
    return states
