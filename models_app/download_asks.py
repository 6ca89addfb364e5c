"""Ask for a download in the admin, and tell whoever asked."""

from typing import Any, Final

from django.contrib import messages
from django.http import HttpRequest

from models_app.download_models import Download
from models_app.downloads.copy_service import request_copy
from models_app.downloads.service import request_download
from models_app.errors import ModelsError, QueueUnavailableError

PULL: Final = "models_app.add_download"
WHEN_BACK: Final = "It is wanted all the same, and begins when the queue is back."


def ask_for(request: HttpRequest, reference: str, **options: Any) -> Download | None:
    """Ask for a download, and tell of it; None where it could not be asked for."""
    try:
        download = request_download(reference, **options)
    except QueueUnavailableError as error:
        messages.warning(request, f"{error} {WHEN_BACK}")
    except ModelsError as error:
        messages.error(request, f"Not fetched: {error}")
    else:
        text = f"Fetching {download.reference}. It is registered when it is here, not enabled."
        messages.success(request, text)
        return download
    return None


def copy_again(request: HttpRequest, last: Download) -> None:
    """Ask once more for a copy that has stopped, and tell of it."""
    if last.model is None:
        messages.error(request, f"Not copied: {last.reference} is registered no longer.")
        return
    try:
        limit = last.limit_bytes_per_s
        row = request_copy(last.model, node=last.node, limit_bytes_per_s=limit)
    except QueueUnavailableError as error:
        messages.warning(request, f"{error} {WHEN_BACK}")
    except ModelsError as error:
        messages.error(request, f"Not copied: {error}")
    else:
        messages.success(
            request, f"Copying {row.reference} from {row.from_node} to {row.node}."
        )
