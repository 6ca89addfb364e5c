"""Profiles as YAML in the bodies of requests and answers."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

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
