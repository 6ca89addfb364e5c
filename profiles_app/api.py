from collections.abc import Mapping
from typing import Any

from django.conf import settings
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from models_app.json_body import BoundedJSONParser
from profiles_app import api_schema
from profiles_app.document import MAPPINGS, Document
from profiles_app.errors import Problem, ProfileInvalidError
from profiles_app.files import file_state, yaml_of
from profiles_app.models import Profile
from profiles_app.rows import as_document
from profiles_app.serializers import MemberSerializer, problems_of
from profiles_app.services import (
    delete_profile,
    get_profile,
    require_active_profile,
    save_document,
    save_yaml,
)
from profiles_app.validation import validate
from profiles_app.variables import path_text
from profiles_app.yamlapi import YamlBody, YamlParser, YamlRenderer


class ProfileAPIView(APIView):
    """JSON or YAML, in and out."""

    parser_classes = (BoundedJSONParser, YamlParser)
    renderer_classes: tuple[type[BaseRenderer], ...] = (JSONRenderer, YamlRenderer)

    def answer(self, request: Request, profile: Profile) -> Response:
        if isinstance(request.accepted_renderer, YamlRenderer):
            return Response({"yaml": yaml_of(profile)})
        return Response(to_json(profile))


class ProfileListView(ProfileAPIView):
    """The names of all profiles; a new one."""

    permission = "profiles_app.add_profile"

    renderer_classes = (JSONRenderer,)

    @api_schema.LIST
    def get(self, request: Request) -> Response:
        return Response(list(Profile.objects.values_list("slug", flat=True)))

    @api_schema.CREATE
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

    permission = {
        "PUT": "profiles_app.change_profile",
        "PATCH": "profiles_app.change_profile",
        "DELETE": "profiles_app.delete_profile",
    }

    @api_schema.SHOW
    def get(self, request: Request, name: str) -> Response:
        return self.answer(request, get_profile(name))

    @api_schema.REPLACE
    def put(self, request: Request, name: str) -> Response:
        get_profile(name)
        author = author_of(request)
        if isinstance(request.data, YamlBody):
            return self.answer(request, save_yaml(request.data.text, slug=name, author=author))
        return self._save(request, name, from_json(request.data))

    @api_schema.CHANGE
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

    @api_schema.DELETE
    def delete(self, request: Request, name: str) -> Response:
        delete_profile(get_profile(name), author=author_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _save(
        self, request: Request, name: str, document: Document, *, seen: int | None = None
    ) -> Response:
        seen = dict(request.data).get("version", seen)
        author = author_of(request)
        profile = save_document(document, slug=name, author=author, seen=seen)
        return self.answer(request, profile)


class ProfileValidationView(APIView):
    """What is wrong with a profile here and now."""

    @api_schema.VALIDATE
    def get(self, request: Request, name: str) -> Response:
        return Response(validate(get_profile(name)).as_json())


class ActiveProfileView(ProfileAPIView):
    """The profile that is active."""

    @api_schema.ACTIVE
    def get(self, request: Request) -> Response:
        return self.answer(request, require_active_profile())


def author_of(request: Request) -> str:
    """Return who asks, for a version: on this machine nobody need say."""
    return request.user.get_username() or "API"


def to_json(profile: Profile) -> Document:
    """Return PROFILE of the contract: `enabled_models` are ids, `members` says the rest."""
    document = as_document(profile)
    members: list[dict[str, Any]] = [
        {"tier": None, "replicas": 1, "aliases": [], "nodes": [], "run_settings": {}}
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
        ValidationError: it is no object, or its `version` is no number.
        ProfileInvalidError: `members` are none.
    """
    if not isinstance(data, Mapping):
        raise ValidationError({"detail": "A profile is a JSON object, or YAML."})
    version = data.get("version")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise ValidationError({"detail": "version: it is the number that GET gave."})
    document = dict(data)
    if "members" not in document:
        return document
    members = _members(document.pop("members"))
    by_id = {
        member["model_id"]: dict(member) for member in members if isinstance(member, Mapping)
    }
    enabled = document.get("enabled_models", members)
    if isinstance(enabled, list):
        document["enabled_models"] = [
            by_id.get(item, item) if isinstance(item, str) else item for item in enabled
        ]
    return document


def _members(data: object) -> list[Any]:
    serializer = MemberSerializer(data=data, many=True)
    if not serializer.is_valid():
        found = problems_of(serializer.errors, ("members",))
        raise ProfileInvalidError(
            [Problem(None, path_text(path), text) for path, text in found]
        )
    return list(serializer.initial_data)
