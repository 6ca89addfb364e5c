"""Hold values against the OpenAPI document."""

from typing import Any

from jsonschema import Draft202012Validator

from magi_site.api_docs import document


def check(schema: dict[str, Any], value: object) -> None:
    """Fail where `value` is not as a schema of the document says."""
    Draft202012Validator({**schema, "components": document()["components"]}).validate(value)


def check_answer(method: str, path: str, answer: Any) -> None:
    """Fail where the document does not have this answer to a call.

    Args:
        path: as the document has it, /api/models/{model_id}.
        answer: of Django's test client, in JSON.
    """
    responses = document()["paths"][path][method]["responses"]
    response = responses[str(answer.status_code)]
    if "$ref" in response:
        response = document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
    check(response["content"]["application/json"]["schema"], answer.json())
