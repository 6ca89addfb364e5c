"""The call that copies a model to another node."""

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api import wait_seconds
from models_app.download_api import answer_of, valid_body
from models_app.downloads.service import wait_for
from models_app.lookup import get_model
from servers_app.copy_schema import COPY, CopySerializer
from servers_app.copying import ask_copy


class CopyView(APIView):
    """Have a model on one more node."""

    permission = "models_app.add_download"

    @COPY
    def post(self, request: Request, model_id: str) -> Response:
        wait, model = wait_seconds(request), get_model(model_id)
        asked = valid_body(CopySerializer, request.data, '{"node": "NAME"}')
        download = ask_copy(model, **asked)
        download = wait_for(download.pk, seconds=wait, until=lambda row: not row.is_under_way)
        return answer_of(download)
