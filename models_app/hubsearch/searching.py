"""Look for repos with GGUF models at the hub.

Source: https://huggingface.co/docs/hub/api, GET /api/models. huggingface_hub's own list_models
has no time limit; a page that waits for it would wait for good.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import httpx2
from huggingface_hub import ModelInfo, get_token

from models_app.downloads import hub
from models_app.downloads.control import TryAgainError
from models_app.downloads.http import RETRIED, make_client, opened, read_text
from models_app.errors import InvalidSearchError, UnsupportedDownloadError
from models_app.hubsearch.listing import Once

MAX_WORDS_CHARS: Final = 200
MAX_FOUND: Final = 100
USUAL_FOUND: Final = 20
SORTS: Final = ("downloads", "likes", "lastModified", "trendingScore")
_Sent = str | int | float | bool | None  # as httpx2 has it
_EXPANDED: Final = ("downloads", "likes", "lastModified", "gated", "gguf")


@dataclass(frozen=True, slots=True)
class FoundRepo:
    """A repo with GGUF files; None is what the hub does not say."""

    repo: str
    downloads: int | None  # in the last 30 days
    likes: int | None
    updated_at: datetime | None
    is_gated: bool
    parameter_count: int | None
    architecture: str
    context_length: int | None  # tokens

    def as_json(self) -> dict[str, Any]:
        updated = self.updated_at.isoformat() if self.updated_at else None
        return {**asdict(self), "updated_at": updated}


def search_hub(
    words: str, *, limit: int = USUAL_FOUND, sort: str = SORTS[0]
) -> list[FoundRepo]:
    """Return repos with GGUF models whose names have `words`, those asked for most first.

    Args:
        words: empty: all there are.
        limit: up to MAX_FOUND.
        sort: one of SORTS.

    Raises:
        OfflineError, UnavailableError
        InvalidSearchError: the words are too many, or none that could be sent.
        UnsupportedDownloadError: what answers is no hub.
    """
    asked = " ".join(words.split())
    if len(asked) > MAX_WORDS_CHARS or not asked.isprintable():
        msg = f"Search for up to {MAX_WORDS_CHARS} characters, all of which can be printed."
        raise InvalidSearchError(msg)
    hub.require_online("A search")
    query: list[tuple[str, _Sent]] = [("filter", "gguf"), ("sort", sort)]
    query += [("limit", str(max(1, min(limit, MAX_FOUND))))]
    query += [("search", asked)] if asked else []
    query += [("expand", name) for name in _EXPANDED]
    url = str(httpx2.URL(f"{hub.endpoint()}/api/models", params=httpx2.QueryParams(query)))
    raw = Once().patiently(lambda: _get(url), hub.endpoint_shown())
    try:
        return [_found(_info(each)) for each in json.loads(raw)][:limit]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _no_hub() from error


def _get(url: str) -> bytes:
    with (
        make_client() as client,
        opened(client, url, Once(), headers={}, token=get_token() or "") as response,
    ):
        if response.status_code in RETRIED:
            raise TryAgainError(str(response.status_code))
        if response.status_code != httpx2.codes.OK:
            raise _no_hub(response.status_code)
        return read_text(response)


def _info(each: dict[str, Any]) -> ModelInfo:
    return ModelInfo(**each)  # type: ignore[no-untyped-call]  # huggingface_hub has none for it


def _found(info: ModelInfo) -> FoundRepo:
    gguf = info.gguf if isinstance(info.gguf, dict) else {}
    return FoundRepo(
        repo=str(info.id),
        downloads=_number(info.downloads),
        likes=_number(info.likes),
        updated_at=info.last_modified,
        is_gated=bool(info.gated),
        parameter_count=_number(gguf.get("total")),
        architecture=str(gguf.get("architecture") or "")[:64],
        context_length=_number(gguf.get("context_length")),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _no_hub(status: int | None = None) -> UnsupportedDownloadError:
    said = f"answers {status}" if status else "does not answer as a hub does"
    return UnsupportedDownloadError(
        f"{hub.endpoint_shown()} {said}. Is HF_ENDPOINT right, and is nothing between that "
        "asks for a sign-in?"
    )
