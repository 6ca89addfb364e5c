from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from profiles_app.document import MAPPINGS, Document
from profiles_app.files import file_state, yaml_of
from profiles_app.models import Profile
from profiles_app.rows import as_document
from profiles_app.services import (
    delete_profile,
    get_profile,
    require_active_profile,
    save_document,
    save_yaml,
)
from profiles_app.validation import validate
from profiles_app.yamltext import MAX_BYTES, write_yaml

YAML = "application/yaml"


class YamlBody(dict[str, str]):
    """A request's body that is YAML: its `text`, whoever reads it says what is wrong."""

    @property
    def text(self) -> str:
        return self["text"]


class YamlParser(BaseParser):
    media_type = YAML

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> YamlBody:
        raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            msg = f"A profile has at most {MAX_BYTES:,} bytes."
            raise ParseError(msg)
        try:
            return YamlBody(text=raw.decode())
        except UnicodeDecodeError as error:
            msg = "The body is not UTF-8."
            raise ParseError(msg) from error


class YamlRenderer(BaseRenderer):
    media_type = YAML
    format = "yaml"
    charset = "utf-8"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        if isinstance(data, Mapping):
            data = data.get("yaml") or write_yaml(data)
        return str(data or "").encode()


class ProfileAPIView(APIView):
    """JSON or YAML, in and out."""

    parser_classes = (JSONParser, YamlParser)
    renderer_classes: tuple[type[BaseRenderer], ...] = (JSONRenderer, YamlRenderer)

    def answer(self, request: Request, profile: Profile) -> Response:
        if isinstance(request.accepted_renderer, YamlRenderer):
            return Response({"yaml": yaml_of(profile)})
        return Response(to_json(profile))


class ProfileListView(ProfileAPIView):
    """The names of all profiles; a new one."""

    renderer_classes = (JSONRenderer,)

    def get(self, request: Request) -> Response:
        return Response(list(Profile.objects.values_list("slug", flat=True)))

    def post(self, request: Request) -> Response:
        author = author_of(request)
        if isinstance(request.data, YamlBody):
            profile = save_yaml(request.data.text, author=author, is_new=True)
        else:
            profile = save_document(from_json(request.data), author=author, is_new=True)
        message = f"Profile '{profile.name}' created successfully"
        body = {"message": message, "name": profile.slug}
        return Response(body, status=status.HTTP_201_CREATED)


class ProfileView(ProfileAPIView):
    """One profile, by its file stem. `version` in a body guards against lost changes."""

    def get(self, request: Request, name: str) -> Response:
        return self.answer(request, get_profile(name))

    def put(self, request: Request, name: str) -> Response:
        get_profile(name)
        author = author_of(request)
        if isinstance(request.data, YamlBody):
            return self.answer(request, save_yaml(request.data.text, slug=name, author=author))
        return self._save(request, name, from_json(request.data))

    def patch(self, request: Request, name: str) -> Response:
        if isinstance(request.data, YamlBody):
            msg = "PATCH takes JSON: only what changes. PUT takes the whole profile as YAML."
            raise ValidationError({"detail": msg})
        profile = get_profile(name)
        document = as_document(profile)
        for key, value in from_json(request.data).items():
            if key in MAPPINGS and isinstance(value, dict) and isinstance(document[key], dict):
                document[key] = {**document[key], **value}
            else:
                document[key] = value
        return self._save(request, name, document, seen=profile.version)

    def delete(self, request: Request, name: str) -> Response:
        delete_profile(get_profile(name), author=author_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _save(
        self, request: Request, name: str, document: Document, *, seen: int | None = None
    ) -> Response:
        seen = dict(request.data).get("version", seen)
        if seen is not None and (isinstance(seen, bool) or not isinstance(seen, int)):
            raise ValidationError({"detail": "version: it is the number that GET gave."})
        author = author_of(request)
        profile = save_document(document, slug=name, author=author, seen=seen)
        return self.answer(request, profile)


class ProfileValidationView(APIView):
    """What is wrong with a profile here and now."""

    def get(self, request: Request, name: str) -> Response:
        return Response(validate(get_profile(name)).as_json())


class ActiveProfileView(ProfileAPIView):
    """The profile that is active."""

    def get(self, request: Request) -> Response:
        return self.answer(request, require_active_profile())


def author_of(request: Request) -> str:
    """Return who asks, for a version: on this machine nobody need say."""
    return request.user.get_username() or "API"


def to_json(profile: Profile) -> Document:
    """Return PROFILE of the contract: `enabled_models` are ids, `members` says the rest."""
    document = as_document(profile)
    members: list[dict[str, Any]] = [
        {"tier": None, "replicas": 1, "aliases": [], "run_settings": {}}
        | ({"model_id": member} if isinstance(member, str) else member)
        for member in document["enabled_models"]
    ]
    return {
        **document,
        "enabled_models": [member["model_id"] for member in members],
        "members": members,
        "slug": profile.slug,
        "is_active": profile.is_active,
        "version": profile.version,
        "file_state": file_state(profile, settings.MAGI_PROFILES_DIR).value,
    }


def from_json(data: object) -> Document:
    """Return a request's body as a document; `enabled_models` says which members count.

    Raises:
        ValidationError: it is no object.
    """
    if not isinstance(data, Mapping):
        raise ValidationError({"detail": "A profile is a JSON object, or YAML."})
    document = dict(data)
    members = document.pop("members", None)
    if not isinstance(members, list):
        return document
    by_id: dict[str, Any] = {
        member["model_id"]: dict(member)
        for member in members
        if isinstance(member, Mapping) and isinstance(member.get("model_id"), str)
    }
    enabled = document.get("enabled_models", members)
    if isinstance(enabled, list):
        document["enabled_models"] = [
            by_id.get(item, item) if isinstance(item, str) else item for item in enabled
        ]
    return document
