"""Models that are not here and could be fetched: what the hub has, or else a short list.

Nobody waits long for the hub. What it said is kept, and so is that it did not answer.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final, NamedTuple

from models_app.errors import DownloadError
from models_app.hubsearch.searching import FoundRepo, search_hub
from models_app.sizes import Size

logger = logging.getLogger(__name__)

WAIT_S: Final = 2.0
KEPT_S: Final = 24 * 3600.0
QUIET_S: Final = 300.0  # after the hub did not answer
LIMIT: Final = 20

HUB: Final = "huggingface"
OLLAMA: Final = "ollama"


class Fetchable(NamedTuple):
    """A model that POST /ai/download-model would fetch."""

    name: str
    size: str | None
    description: str
    popularity: int | None  # downloads of the last 30 days; None: nobody has counted them
    source: str
    listed_by: str  # hub, or catalogue: a list that comes with MAGI

    def as_json(self) -> dict[str, Any]:
        return self._asdict()


# Names of Ollama's registry that have been there for long. How popular they are it does not
# tell, so nothing is said of it.
CATALOGUE: Final = tuple(
    Fetchable(name, size, description, None, OLLAMA, "catalogue")
    for name, size, description in (
        ("smollm2:135m", "135M", "Very small general purpose model"),
        ("qwen2.5:0.5b", "0.5B", "Very small general purpose model, many languages"),
        ("llama3.2:3b", "3B", "General purpose model"),
        ("qwen3:4b", "4B", "General purpose model that thinks"),
        ("gemma3:4b", "4B", "General purpose model that sees images"),
        ("llama2:7b", "7B", "General purpose model"),
        ("mistral:7b", "7B", "General purpose model"),
        ("codellama:7b", "7B", "Code generation model"),
        ("qwen2.5-coder:7b", "7B", "Code generation model"),
        ("llava:7b", "7B", "Model that sees images"),
        ("deepseek-r1:8b", "8B", "Model that thinks"),
        ("phi4:14b", "14B", "General purpose model"),
        ("qwen2.5-coder:32b", "32B", "Code generation model"),
        ("nomic-embed-text:v1.5", "137M", "Embedding model"),
    )
)


class Hub:
    """What the hub's search said last."""

    def __init__(
        self,
        search: Callable[..., Sequence[FoundRepo]] = search_hub,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._search = search
        self._clock = clock
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub-search")
        self._asking: Future[Sequence[FoundRepo]] | None = None
        self._found: list[Fetchable] = []
        self._until = float("-inf")

    def models(self, *, wait_s: float = WAIT_S) -> list[Fetchable]:
        """Return the repos that are asked for most; none where the hub does not answer."""
        if self._clock() < self._until:
            return self._found
        if self._asking is None:
            self._asking = self._pool.submit(self._search, "", limit=LIMIT)
        try:
            self._found = [_of_repo(repo) for repo in self._asking.result(wait_s)]
        except FutureTimeoutError:
            return self._found  # it is asked still; the next one may find its answer
        except DownloadError as error:
            logger.info("The hub was not asked which models there are: %s", error)
            self._rest(QUIET_S)
        except Exception:
            logger.exception("The hub's answer could not be used.")
            self._rest(QUIET_S)
        else:
            self._rest(KEPT_S)
        return self._found

    def _rest(self, seconds: float) -> None:
        self._asking = None
        self._until = self._clock() + seconds


_hub: Final = Hub()


def fetchable(here: Collection[str], *, hub: Hub = _hub) -> list[dict[str, Any]]:
    """Return models that could be fetched, without those that are here.

    Args:
        here: names and repos of models, lower case.
    """
    models = hub.models() or CATALOGUE
    return [model.as_json() for model in models if model.name.lower() not in here]


def _of_repo(repo: FoundRepo) -> Fetchable:
    size = Size.of_count(repo.parameter_count or 0)
    parts = [f"{repo.architecture} model" if repo.architecture else "Model"]
    if repo.context_length:
        parts.append(f"a context of {repo.context_length:,} tokens")
    if repo.is_gated:
        parts.append("gated: it needs HF_TOKEN")
    label = None if size is None else size_text(size.params)
    return Fetchable(repo.repo, label, ", ".join(parts), repo.downloads, HUB, "hub")


def size_text(billions: float | None) -> str | None:
    """Return parameters as people write them.

    >>> size_text(4.0), size_text(0.135), size_text(None)
    ('4B', '135M', None)
    """
    if not billions:
        return None
    return f"{billions:g}B" if billions >= 1 else f"{1000 * billions:g}M"
