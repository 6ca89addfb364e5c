from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from profiles_app.api import author_of
from profiles_app.services import get_profile
from profiles_app.validation import validate
from servers_app import activation_schema
from servers_app.planning import make_plan
from servers_app.services import activate_profile


class ActivationView(APIView):
    """Make a profile the active one; `{"force": true}` does so with errors in it, too."""

    permission = "profiles_app.change_profile"

    @activation_schema.ACTIVATE
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

    @activation_schema.PLAN
    def get(self, request: Request, name: str) -> Response:
        profile = get_profile(name)
        validation = validate(profile).as_json()
        return Response({**make_plan(profile).as_json(), "validation": validation})
