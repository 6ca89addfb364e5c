from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from profiles_app.models import Profile


class ProfileListView(APIView):
    """The names of all profiles."""

    def get(self, request: Request) -> Response:
        return Response(list(Profile.objects.values_list("slug", flat=True)))
