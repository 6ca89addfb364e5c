"""JSON in the bodies of REST calls."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from models_app.nesting import MAX_DEPTH, is_deeper


class BoundedJSONParser(JSONParser):
    """DRF's, which answers 500 to a body that is nested deeper than Python's stack."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        try:
            value = super().parse(stream, media_type, parser_context)
        except RecursionError as error:
            raise _too_deep() from error
        if is_deeper(value):
            raise _too_deep()
        return value


def _too_deep() -> ParseError:
    return ParseError(f"JSON parse error - nested more than {MAX_DEPTH} levels deep")
