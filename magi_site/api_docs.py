"""The OpenAPI document and its page, /api/schema/ and /api/docs/."""

import functools
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotAuthenticated
from rest_framework.renderers import TemplateHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.api_schema import errors

_DOCUMENT = {"type": "object", "additionalProperties": True}


@functools.cache
def document() -> dict[str, Any]:
    """Return the whole document. It is made once, with the first call: half a second."""
    generator = SchemaGenerator()
    made: dict[str, Any] = generator.get_schema(public=True)
    return made


class SchemaView(APIView):
    renderer_classes = (
        OpenApiJsonRenderer2,
        OpenApiJsonRenderer,
        OpenApiYamlRenderer2,
        OpenApiYamlRenderer,
    )

    @extend_schema(
        operation_id="get_schema",
        summary="This document",
        tags=["Live"],
        parameters=[
            OpenApiParameter(
                "format",
                {"type": "string", "enum": ["json", "yaml", ""]},
                description="What `Accept` says, for those who cannot send it.",
            )
        ],
        responses={200: _DOCUMENT, **errors({404: "Not found."})},
    )
    def get(self, request: Request) -> Response:
        return Response(document())


class DocsView(APIView):
    renderer_classes = (TemplateHTMLRenderer,)
    metadata_class = None  # OPTIONS: a page has nothing to say of itself

    @extend_schema(
        operation_id="get_docs",
        summary="This document as a page, to be tried out",
        description="In a browser, whoever is not signed in is sent to the sign-in page.",
        tags=["Live"],
        responses={(200, "text/html"): {"type": "string"}},
    )
    def get(self, request: Request) -> Response:
        return Response(template_name="drf_spectacular/swagger_ui.html")

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, NotAuthenticated) and self._is_browser():
            return redirect_to_login(self.request.get_full_path(), reverse("admin:login"))
        return super().handle_exception(exc)

    def _is_browser(self) -> bool:
        return "text/html" in self.request.headers.get("Accept", "")
