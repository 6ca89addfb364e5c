"""The OpenAPI document: what is the same for every call, and what Django does not answer.

What a single call takes and answers stands beside its view, in its app's *_schema.py.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from django.conf import settings
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ComponentRegistry
from rest_framework.permissions import SAFE_METHODS

from magi_site.api_access import permission_of, scope_of
from servers_app.manager.envelope import PREFIX
from servers_app.manager.examples import failure

Operation = dict[str, Any]

DESCRIPTION: Final = """\
The REST API of MAGI, a control plane for local language models served by llama.cpp.
`docs/api.md` has a worked example of each group.

**Who may call.** A key (`Authorization: Bearer magi_…`) with the scope that the call names, or
a staff account's session with the permission that it names, and Django's CSRF token. While
MAGI listens on loopback only, callers on this machine need neither, unless
`MAGI_API_AUTH=required`.

**Errors** are `{"detail": "…"}`, a sentence: what, which one, what to do. Those of `/v1` are
OpenAI's or Anthropic's; those of `/ai` are `{"success": false, "error", "code", …}`.

**Waiting.** What a worker does is waited for up to `?wait=` seconds, and then answered with
202 and a `status_url`. If no worker is there, the answer is 503 at once.

**No limit** is `null`. Times are ISO 8601 with an offset. Nothing is `Infinity` or `NaN`.
"""
TAGS: Final = [
    {"name": "Registry and tiers", "description": "Which models are here."},
    {"name": "Servers", "description": "Which of them run; start and stop them."},
    {"name": "Nodes", "description": "The machines that run servers."},
    {"name": "Profiles", "description": "Which may run, and how; in JSON and in YAML."},
    {"name": "Admin", "description": "How MAGI itself is."},
    {"name": "Model manager", "description": "Choose, fetch and measure models."},
    {"name": "Queries and the gateway", "description": "Ask the models."},
    {"name": "Live", "description": "What happens, as it happens."},
]
SECURITY_SCHEMES: Final[dict[str, Operation]] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of MAGI's, made in the admin or by `manage.py apikey new`.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": settings.SESSION_COOKIE_NAME,
        "description": "Who is signed in at /admin/. What changes something needs the header "
        "`X-CSRFToken`, too.",
    },
}
REFUSALS: Final = {  # by status: a name, why, and an example
    400: ("BadRequest", "What was sent cannot be used.", "wait=soon is not a number."),
    401: ("Unauthorized", "Nobody says who calls.", "This call needs a key, or a session."),
    403: ("Forbidden", "Whoever calls may not.", "The key NAME has no scope manage."),
    404: ("NotFound", "It is not there.", "There is no such thing."),
    406: ("NotAcceptable", "It cannot be had in this format.", "Ask for application/json."),
    413: ("TooLarge", "The body is too large.", "The body is larger than is accepted here."),
    415: ("UnsupportedMediaType", "The body's type is not known.", "Send application/json."),
    429: ("TooManyRequests", "The key's rate limit is reached.", "Try again in 12 s."),
}
MANAGER: Final = "Manager"  # before the names of refusals under /ai/
OF_CHANGES: Final = frozenset({413, 415})
OF_THINGS: Final = frozenset({404})


class MagiSchema(AutoSchema):
    """Adds to each view's operation who may call it, and how it is refused."""

    def get_operation(
        self,
        path: str,
        path_regex: str,
        path_prefix: str,
        method: str,
        registry: ComponentRegistry,
    ) -> Operation | None:
        operation: Operation | None = super().get_operation(
            path, path_regex, path_prefix, method, registry
        )
        if operation is not None:
            guarded(
                operation,
                scopes=[scope_of(self.view, self.method)],
                permission=permission_of(self.view, self.method) or "",
                refusals=_refusals(path, is_change=self.method not in SAFE_METHODS),
                prefix=MANAGER if path.startswith(PREFIX) else "",
            )
        return operation

    def get_auth(self) -> list[Operation]:
        return []  # get_operation says it, with the scope

    def _get_request_for_media_type(
        self, serializer: object, direction: str = "request"
    ) -> tuple[Operation, bool]:
        """Have a body that is needed say so, where a view gives the schema itself."""
        schema, is_required = super()._get_request_for_media_type(  # type: ignore[no-untyped-call]
            serializer, direction
        )
        return schema, is_required or isinstance(serializer, dict)


def _refusals(path: str, *, is_change: bool) -> list[int]:
    """Return how a view may refuse before it has looked at anything."""
    has_not = (frozenset() if is_change else OF_CHANGES) | (
        frozenset() if "{" in path else OF_THINGS
    )
    return [status for status in REFUSALS if status not in has_not]


def guarded(
    operation: Operation,
    *,
    scopes: Sequence[str],
    permission: str = "",
    refusals: Collection[int] = (),
    prefix: str = "",
) -> Operation:
    """Say of an operation which key or session it takes, and how it refuses.

    Args:
        scopes: any of which will do.
        refusals: those of REFUSALS that it has, beside what it says itself.
        prefix: of their names, where their bodies are others.
    """
    keys: list[Operation] = [{"key": [scope]} for scope in scopes]
    operation["security"] = [*keys, {"session": []}]
    named = " or ".join(f"`{scope}`" for scope in scopes)
    who = f"Scope {named}" + (f"; permission `{permission}`." if permission else ".")
    operation["description"] = "\n\n".join(filter(None, [operation.get("description"), who]))
    for status in refusals:
        ref = {"$ref": f"#/components/responses/{prefix}{REFUSALS[status][0]}"}
        operation["responses"].setdefault(str(status), ref)
    return operation


def complete(
    result: Operation,
    generator: Any,
    request: object,
    public: bool,  # noqa: FBT001 - its hook
) -> Operation:
    """Add what stands in no view: the hook of drf-spectacular that runs last."""
    # Not before: it knows the apps, which know this module by their views.
    from magi_site import schema_streams, schema_v1  # noqa: PLC0415

    result["info"]["description"] = DESCRIPTION
    result["tags"] = TAGS
    result["paths"] |= {**schema_streams.PATHS, **schema_v1.PATHS}
    components = result["components"]
    components["schemas"] |= schema_v1.SCHEMAS
    components["securitySchemes"] = SECURITY_SCHEMES
    components["responses"] = {
        prefix + name: {"description": why, "content": _error(prefix, example)}
        for name, why, example in REFUSALS.values()
        for prefix in ("", MANAGER)
    }
    return result


def _error(prefix: str, detail: str) -> Operation:
    schema = {"$ref": f"#/components/schemas/{prefix}Error"}
    example = failure("refused", detail) if prefix else {"detail": detail}
    return {"application/json": {"schema": schema, "example": example}}
