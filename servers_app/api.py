from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.errors import UnknownModelError
from models_app.models import DiscoveredModel
from profiles_app.api import author_of
from profiles_app.services import get_profile
from profiles_app.validation import validate
from servers_app.planning import make_plan
from servers_app.registry import registry_as_json
from servers_app.services import activate_profile, set_enabled


class RegistryView(APIView):
    """Every model that was found, with whether it is enabled and what its server does."""

    def get(self, request: Request) -> Response:
        return Response(registry_as_json())


class ActivationView(APIView):
    """Make a profile the active one; `{"force": true}` does so with errors in it, too."""

    def post(self, request: Request, name: str) -> Response:
        force = request.data.get("force", False) if isinstance(request.data, dict) else None
        if not isinstance(force, bool):
            raise ValidationError({"detail": "force: it is true or false."})
        profile = get_profile(name)
        activation = activate_profile(profile, force=force, who=author_of(request))
        message = f"Profile '{profile.slug}' activated"
        return Response({"message": message, "name": profile.slug, **activation.as_json()})


class PlanView(APIView):
    """What an activation would do: which servers start, stop, restart and stay."""

    def get(self, request: Request, name: str) -> Response:
        profile = get_profile(name)
        validation = validate(profile).as_json()
        return Response({**make_plan(profile).as_json(), "validation": validation})


class EnabledView(APIView):
    """Enable a model in the active profile, or disable it."""

    def put(self, request: Request, model_id: str) -> Response:
        enabled = request.data.get("enabled") if isinstance(request.data, dict) else None
        if not isinstance(enabled, bool):
            raise ValidationError({"detail": "enabled: it is true or false."})
        model = DiscoveredModel.objects.filter(model_id=model_id).first()
        if model is None:
            raise UnknownModelError(model_id)
        set_enabled([model], is_enabled=enabled, author=author_of(request))
        word = "enabled" if enabled else "disabled"
        message = f"Model {model_id} {word}"
        return Response({"message": message, "model_id": model_id, "enabled": enabled})
